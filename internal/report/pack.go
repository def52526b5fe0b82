package report

import (
	"math"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// mostBins is how many bins of a series an HTML report shows. Longer series
// are folded: a bin of several keeps the least and the most of what rises and
// falls, in the order in which they came, and the sum of what adds up.
const mostBins = 2000

// toldBytes is what the decisions of a whole report may take.
const toldBytes = 4 << 20

// packed is a Series as the page's script reads it.
type packed struct {
	Bin       float64        `json:"bin"`  // seconds
	Step      float64        `json:"step"` // seconds: how finely the cursor moves
	Bins      int            `json:"bins"`
	Objective Number         `json:"objective"`
	Demand    lane           `json:"demand"`
	Need      lane           `json:"need"`
	Policies  []packedPolicy `json:"policies"` // in the order of the table
	Told      packedTold     `json:"told"`
}

type packedPolicy struct {
	Name       string `json:"name"`
	Own        bool   `json:"own"`
	Shown      bool   `json:"shown"` // at first
	Ready      lane   `json:"ready"`
	Attainment lane   `json:"attainment"`
	Held       lane   `json:"held"`
	Cost       lane   `json:"cost"` // dollars spent until the bin's end
}

// packedTold are the decisions. Reasons are indices of Sentences, which are
// pairs of a code and a text.
type packedTold struct {
	At        []int       `json:"at"` // seconds
	Target    []int       `json:"target"`
	From      []int       `json:"from"`
	To        []int       `json:"to"`
	Reasons   [][]int     `json:"reasons"`
	Targets   []string    `json:"targets"`
	Sentences [][2]string `json:"sentences"`
	Untold    int         `json:"untold"`
}

// lane is a row of values, not below zero, as text: each is rounded to a
// multiple of Quantum and written as the difference from the one before.
type lane struct {
	Per     int     `json:"per"` // values in a bin
	Quantum float64 `json:"quantum"`
	Text    string  `json:"text"`
}

// folding is how many bins of a Series become one.
type folding struct{ bins, by int }

func foldingOf(s Series) folding {
	n := max(len(s.Demand), len(s.Need))
	for _, p := range s.Policies {
		n = max(n, len(p.Ready), len(p.Judged), len(p.Cost))
	}
	by := max(1, (n+mostBins-1)/mostBins)
	return folding{bins: (n + by - 1) / by, by: by}
}

// cells calls yield with the values of each bin; the last may have fewer, or
// none.
func (f folding) cells(values []float64, yield func(bin []float64)) {
	for i := range f.bins {
		from := min(i*f.by, len(values))
		yield(values[from:min(from+f.by, len(values))])
	}
}

// extremes keeps the least and the most of each bin, in their order.
func (f folding) extremes(values []float64) lane {
	if len(values) == 0 {
		return lane{}
	}
	if f.by == 1 {
		return pack(f.sized(values), 1)
	}
	out := make([]float64, 0, 2*f.bins)
	f.cells(values, func(bin []float64) {
		first, second := extremesOf(bin)
		out = append(out, first, second)
	})
	return pack(out, 2)
}

func extremesOf(bin []float64) (first, second float64) {
	least, most := -1, -1
	for i, v := range bin {
		if !Number(v).Known() {
			continue
		}
		if least < 0 || v < bin[least] {
			least = i
		}
		if most < 0 || v > bin[most] {
			most = i
		}
	}
	if least < 0 {
		return math.NaN(), math.NaN()
	}
	return bin[min(least, most)], bin[max(least, most)]
}

// sized returns the values, one for each bin.
func (f folding) sized(values []float64) []float64 {
	out := make([]float64, f.bins)
	for i := range out {
		out[i] = math.NaN()
	}
	copy(out, values)
	return out
}

// most keeps the largest of each bin.
func (f folding) most(values []float64) lane {
	var out []float64
	f.cells(values, func(bin []float64) {
		most := math.NaN()
		for _, v := range bin {
			if Number(v).Known() && !(v <= most) {
				most = v
			}
		}
		out = append(out, most)
	})
	return pack(out, 1)
}

// sums adds up what is known of each bin.
func (f folding) sums(values []float64) []float64 {
	var out []float64
	f.cells(values, func(bin []float64) {
		sum := 0.0
		for _, v := range bin {
			if Number(v).Known() {
				sum += v
			}
		}
		out = append(out, sum)
	})
	return out
}

// shares divides the sums of each bin; a bin with nothing to divide by has
// none.
func (f folding) shares(part, whole []float64) lane {
	parts, wholes := f.sums(part), f.sums(whole)
	for i := range parts {
		if wholes[i] <= 0 {
			parts[i] = math.NaN()
			continue
		}
		parts[i] = min(1, parts[i]/wholes[i])
	}
	return packBy(parts, 1e-4)
}

// cumulative is the sum of all values until each bin's end.
func (f folding) cumulative(values []float64) lane {
	sums := f.sums(values)
	for i := 1; i < len(sums); i++ {
		sums[i] += sums[i-1]
	}
	return pack(sums, 1)
}

// pack rounds to one where all is whole, and else to the power of ten of which
// the largest value has a thousand to ten thousand.
func pack(values []float64, per int) lane {
	const levels = 10_000
	most, whole := 0.0, true
	for _, v := range values {
		if Number(v).Known() {
			most = max(most, v)
			whole = whole && v == math.Trunc(v)
		}
	}
	quantum := 1.0
	if !whole || most > 1e9 {
		quantum = math.Pow(10, math.Ceil(math.Log10(most/levels)))
		if quantum == 0 || math.IsInf(most/quantum, 0) { // most is among the least numbers that there are
			quantum = 1
		}
	}
	l := packBy(values, quantum)
	l.Per = per
	return l
}

// packBy writes values as multiples of the quantum: 0 where none is known (or
// one is below zero, which none of these can be), else one more than the
// multiple; each as its difference from the one before. A difference of zero
// is followed by how many more of them there are.
func packBy(values []float64, quantum float64) lane {
	var b strings.Builder
	last, zeros := 0, 0
	flush := func() {
		if zeros > 0 {
			digits(&b, 0)
			digits(&b, zeros-1)
		}
		zeros = 0
	}
	for _, v := range values {
		code := 0
		if Number(v).Known() && v >= 0 {
			code = 1 + int(math.Round(v/quantum))
		}
		if code == last {
			zeros++
			continue
		}
		flush()
		digits(&b, zigzag(code-last))
		last = code
	}
	flush()
	return lane{Per: 1, Quantum: quantum, Text: b.String()}
}

// zigzag makes small differences of either sign small numbers.
func zigzag(n int) int { return n<<1 ^ n>>63 }

// digits writes n five bits at a time, the lowest first; 32 is added to all
// but the last.
func digits(b *strings.Builder, n int) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for ; n >= 32; n >>= 5 {
		b.WriteByte(alphabet[n&31|32])
	}
	b.WriteByte(alphabet[n])
}

// packTold brings decisions down to at most so many bytes.
func packTold(s Series, most int) packedTold {
	told, untold := s.Decisions, s.Untold
	for len(told) > 1 && (len(told) > MostTold || toldSize(told) > most) {
		before := len(told)
		told = thin(told)
		untold += before - len(told)
	}
	p := packedTold{At: []int{}, Target: []int{}, From: []int{}, To: []int{}, Reasons: [][]int{}, Targets: []string{}, Sentences: [][2]string{}, Untold: untold}
	targets, sentences := map[string]int{}, map[scale.Reason]int{}
	for _, t := range told {
		name := t.Target.String()
		if _, ok := targets[name]; !ok {
			targets[name] = len(p.Targets)
			p.Targets = append(p.Targets, name)
		}
		reasons := make([]int, 0, len(t.Reasons))
		for _, r := range t.Reasons {
			if _, ok := sentences[r]; !ok {
				sentences[r] = len(p.Sentences)
				p.Sentences = append(p.Sentences, [2]string{r.Code.String(), r.Text})
			}
			reasons = append(reasons, sentences[r])
		}
		p.At = append(p.At, int(t.At/time.Second))
		p.Target = append(p.Target, targets[name])
		p.From, p.To = append(p.From, t.From), append(p.To, t.To)
		p.Reasons = append(p.Reasons, reasons)
	}
	return p
}

// toldSize is about what decisions take in JSON.
func toldSize(told []Told) int {
	size := 0
	seen := map[scale.Reason]bool{}
	for _, t := range told {
		size += 24
		for _, r := range t.Reasons {
			size += 6
			if !seen[r] {
				seen[r] = true
				size += len(r.Text) + 24
			}
		}
	}
	return size
}
