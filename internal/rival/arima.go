package rival

import (
	"math"
	"slices"
)

const (
	arimaLeast  = 5   // points before the first fit
	arimaMemory = 480 // points that a fit looks at: a day of Dynamo's intervals
	arimaOrder  = 2   // largest p and q
)

// arima is Dynamo's default load predictor (planner/core/load/predictors.py at
// 260b6ae9): pmdarima's auto_arima, then update and one step ahead. The last
// value before five points; leading zeros skipped; a constant series returned
// as it is; a model without memory, (0,d,0), replaced by one of log(1+y).
//
// In its place: d by KPSS at 5 %, p and q up to 2 by AICc of conditional sums of
// squares (Box and Jenkins), parameters kept stationary and invertible
// (Monahan 1984), fitted again with each point. The order is chosen anew
// whenever the history has doubled; as shipped it stays what five points
// suggested, which is the mean as often as not.
type arima struct {
	values []float64
	total  int // points ever
	chosen int // of those when the order was chosen
	log    bool
	model  *arimaModel
}

func (a *arima) add(x float64) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		x = 0
	}
	x = math.Max(0, x)
	if x == 0 && a.total == 0 {
		return
	}
	a.values = append(a.values, x)
	a.values = append(a.values[:0], a.values[max(0, len(a.values)-arimaMemory):]...)
	a.total++
}

// next is the forecast of the coming interval.
func (a *arima) next() float64 {
	n := len(a.values)
	if n == 0 {
		return 0
	}
	last := a.values[n-1]
	if n < arimaLeast || constant(a.values) {
		return last
	}
	if a.model == nil || a.total >= 2*a.chosen {
		a.choose()
	} else {
		a.model.refine(a.series(), 40)
	}
	forecast := a.model.forecast(a.series())
	if a.log {
		forecast = math.Expm1(forecast)
	}
	if math.IsNaN(forecast) || math.IsInf(forecast, 0) {
		return last
	}
	return math.Max(0, forecast)
}

// series is the history as the model sees it.
func (a *arima) series() []float64 {
	if !a.log {
		return a.values
	}
	logs := make([]float64, len(a.values))
	for i, x := range a.values {
		logs[i] = math.Log1p(x)
	}
	return logs
}

func (a *arima) choose() {
	a.chosen, a.log = a.total, false
	a.model = bestModel(a.series())
	if a.model.p == 0 && a.model.q == 0 {
		a.log = true
		a.model = bestModel(a.series())
	}
}

// arimaModel is one order with its parameters: p and q partial autocorrelations
// through tanh, then how far the mean is from the sample's, in units of the
// series' spread.
type arimaModel struct {
	p, d, q int
	mean    bool // of the differenced series; else 0
	params  []float64
}

// bestModel is the order with the least AICc.
func bestModel(values []float64) *arimaModel {
	d := 0
	for w := values; d < 2 && len(w) >= arimaLeast && kpss(w) > 0.463; d++ {
		w = diff(w)
	}
	best := &arimaModel{d: 1} // the last value again, where the series is too short for any other
	least := math.Inf(1)
	for _, m := range arimaOrders(d) {
		m.start()
		if !m.estimable(values) {
			continue
		}
		m.refine(values, 400)
		if c := m.criterion(values); c < least {
			best, least = &m, c
		}
	}
	return best
}

// arimaOrders are the candidates: with a mean at level, with and without drift
// at one difference, without at two.
func arimaOrders(d int) []arimaModel {
	var all []arimaModel
	for p := range arimaOrder + 1 {
		for q := range arimaOrder + 1 {
			if d < 2 {
				all = append(all, arimaModel{p: p, d: d, q: q, mean: true})
			}
			if d > 0 {
				all = append(all, arimaModel{p: p, d: d, q: q})
			}
		}
	}
	return all
}

// count is the number of parameters, the variance among them.
func (m *arimaModel) count() int { return len(m.params) + 1 }

// estimable says whether AICc exists for so short a series.
func (m *arimaModel) estimable(values []float64) bool { return len(values)-m.d-m.count()-1 > 0 }

func (m *arimaModel) start() {
	m.params = make([]float64, m.p+m.q)
	if m.mean {
		m.params = append(m.params, 0)
	}
}

// refine moves the parameters to a least sum of squares, in so many steps.
func (m *arimaModel) refine(values []float64, steps int) {
	if len(m.params) == 0 {
		return
	}
	w := m.differenced(values)
	m.params = compass(m.params, steps, func(x []float64) float64 {
		squares, _ := m.residuals(x, w)
		return squares
	})
}

// compass goes from x along one axis at a time to smaller values of f, halving
// its steps where none is left, for so many evaluations (Hooke and Jeeves 1961).
func compass(x []float64, evaluations int, f func([]float64) float64) []float64 {
	const first, last = 0.4, 1e-3
	best := slices.Clone(x)
	least := f(best)
	for step := first; step > last && evaluations > 0; {
		moved := false
		for i := range best {
			for _, by := range []float64{step, -step} {
				best[i] += by
				evaluations--
				if value := f(best); value < least {
					least, moved = value, true
					break
				}
				best[i] -= by
			}
		}
		if !moved {
			step /= 2
		}
	}
	return best
}

// criterion is Akaike's, corrected for short series (Hurvich and Tsai 1989).
func (m *arimaModel) criterion(values []float64) float64 {
	w := m.differenced(values)
	squares, _ := m.residuals(m.params, w)
	n, k := float64(len(w.values)), float64(m.count())
	return n*math.Log(math.Max(squares/n, 1e-12)) + 2*k + 2*k*(k+1)/(n-k-1)
}

// forecast is one step beyond the values.
func (m *arimaModel) forecast(values []float64) float64 {
	w := m.differenced(values)
	_, next := m.residuals(m.params, w)
	n := len(values)
	switch m.d {
	case 0:
		return next
	case 1:
		return values[n-1] + next
	default:
		return 2*values[n-1] - values[n-2] + next
	}
}

// level is a series with its mean and standard deviation.
type level struct {
	values       []float64
	mean, spread float64
}

// differenced is the series that the model explains.
func (m *arimaModel) differenced(values []float64) level {
	w := values
	for range m.d {
		w = diff(w)
	}
	l := level{values: w, mean: mean(w)}
	squares := 0.0
	for _, x := range w {
		squares += (x - l.mean) * (x - l.mean)
	}
	if l.spread = math.Sqrt(squares / float64(max(1, len(w)))); !(l.spread > 0) {
		l.spread = 1
	}
	return l
}

// residuals returns the sum of squares in units of the spread, and the forecast
// that follows. What comes before the series is its mean, without error.
func (m *arimaModel) residuals(params []float64, l level) (squares, next float64) {
	phi, theta := stationary(params[:m.p]), stationary(params[m.p:m.p+m.q])
	w, mu := l.values, 0.0
	if m.mean {
		mu = l.mean + params[m.p+m.q]*l.spread
	}
	var e [arimaOrder]float64 // newest first
	for t := 0; ; t++ {
		predicted := mu
		for i, f := range phi[:m.p] {
			if t > i {
				predicted += f * (w[t-1-i] - mu)
			}
		}
		for j, f := range theta[:m.q] {
			predicted += f * e[j]
		}
		if t == len(w) {
			return squares, predicted
		}
		e[1], e[0] = e[0], w[t]-predicted
		squares += e[0] / l.spread * e[0] / l.spread
	}
}

// stationary turns partial autocorrelations into coefficients (Durbin-Levinson).
func stationary(partials []float64) [arimaOrder]float64 {
	var c [arimaOrder]float64
	switch len(partials) {
	case 1:
		c[0] = math.Tanh(partials[0])
	case 2:
		a, b := math.Tanh(partials[0]), math.Tanh(partials[1])
		c[0], c[1] = a*(1-b), b
	}
	return c
}

// kpss is the statistic of Kwiatkowski, Phillips, Schmidt and Shin (1992) for
// stationarity around a level; above 0.463 it is rejected at 5 %.
func kpss(w []float64) float64 {
	n := float64(len(w))
	centre := mean(w)
	lags := int(4 * math.Pow(n/100, 0.25))
	partial, squares := 0.0, 0.0
	for _, x := range w {
		partial += x - centre
		squares += partial * partial
	}
	variance := 0.0
	for lag := 0; lag <= lags; lag++ {
		cov := 0.0
		for t := lag; t < len(w); t++ {
			cov += (w[t] - centre) * (w[t-lag] - centre)
		}
		weight := 2 * (1 - float64(lag)/float64(lags+1))
		if lag == 0 {
			weight = 1
		}
		variance += weight * cov / n
	}
	if !(variance > 0) {
		return 0
	}
	return squares / (n * n) / variance
}

func diff(w []float64) []float64 {
	d := make([]float64, max(0, len(w)-1))
	for i := range d {
		d[i] = w[i+1] - w[i]
	}
	return d
}

func mean(w []float64) float64 {
	sum := 0.0
	for _, x := range w {
		sum += x
	}
	return sum / float64(max(1, len(w)))
}

func constant(w []float64) bool {
	for _, x := range w {
		if x != w[0] {
			return false
		}
	}
	return true
}
