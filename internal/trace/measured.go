package trace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Measured is demand as it was measured, bin by bin, held in memory.
type Measured struct {
	Bin      time.Duration
	Requests []float64 // in each bin; fractions are carried to the next
	// PromptTokens and OutputTokens are the means of a request in each bin, 0
	// where they were not measured; nil for requests without tokens.
	PromptTokens, OutputTokens []float64
}

// Source draws requests into the bins, as Counts does. Their lengths are
// d.Tokens' where that is set, and else those of Conversation, each of prompt
// and output multiplied so that its mean is what was measured in the bin, or
// over all bins where that is unknown, or what it is where nothing is known.
func (m Measured) Source(d Draw) (*Drawn, error) {
	if m.Bin <= 0 {
		return nil, fmt.Errorf("draw what was measured: bins of %v", m.Bin)
	}
	bins := &levelBins{length: m.Bin, perLevel: 1}
	for i, n := range m.Requests {
		if !(n >= 0 && n <= maxCount) {
			return nil, fmt.Errorf("draw what was measured: %v requests in a bin is not between 0 and %d", n, maxCount)
		}
		bins.rows = append(bins.rows, binRow{start: time.Duration(i) * m.Bin, value: n})
	}
	if d.Tokens == nil && m.PromptTokens != nil && m.OutputTokens != nil {
		chat := Conversation()
		d.Tokens = &around{
			bin: m.Bin, chat: chat,
			prompt: m.factors(m.PromptTokens, chat.Prompt.mean()), output: m.factors(m.OutputTokens, chat.Output.mean()),
		}
	}
	return newDrawn(bins, Part{}, d)
}

// factors are what makes a mean that of each bin.
func (m Measured) factors(means []float64, mean float64) []float64 {
	sum, n := 0.0, 0.0
	for i, v := range means[:min(len(means), len(m.Requests))] {
		if v > 0 {
			sum, n = sum+v*m.Requests[i], n+m.Requests[i]
		}
	}
	all := 1.0
	if n > 0 {
		all = sum / n / mean
	}
	out := make([]float64, len(m.Requests))
	for i := range out {
		out[i] = all
		if i < len(means) && means[i] > 0 {
			out[i] = means[i] / mean
		}
	}
	return out
}

// around is lengths whose means change with time.
type around struct {
	bin            time.Duration
	chat           *Chat
	prompt, output []float64 // factors, by bin
}

// Draw returns lengths of at least one token each.
func (a *around) Draw(at time.Duration, random *rand.Rand) (prompt, output int) {
	prompt, output = a.chat.Draw(at, random)
	times := func(n int, factors []float64) int {
		factor := factors[min(max(0, int(at/a.bin)), len(factors)-1)]
		return int(min(max(1, math.Round(float64(n)*factor)), maxTokens))
	}
	return times(prompt, a.prompt), times(output, a.output)
}

// mean is the mean of a Mix, of which what is above Max counts as Max.
func (m Mix) mean() float64 {
	sum := 0.0
	for _, c := range m {
		l := c.Lengths
		// of min(Scale·exp(N(Mu, Sigma²)), Max)
		mu, top := l.Mu+math.Log(l.Scale), math.Log(float64(l.Max))
		below := func(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }
		sum += c.Share * (math.Exp(mu+l.Sigma*l.Sigma/2)*below((top-mu-l.Sigma*l.Sigma)/l.Sigma) + float64(l.Max)*below((mu-top)/l.Sigma))
	}
	return sum
}

// Header returns the names of a file's columns, by which its kind is told.
func Header(path string) ([]string, error) {
	t, err := openTable(path)
	if err != nil {
		return nil, err
	}
	return t.header, t.Close()
}
