package forecast

import (
	"math"
	"time"

	"gonum.org/v1/gonum/mat"
)

// features of the regression, see Trend.features. The third is one: the level.
const features = 9

const (
	levelFeature = 2
	// ridge is how many samples the prior is worth, which says that demand
	// stays at its level.
	ridge = 8.0
	// forgetting is the time after which a sample weighs e times less.
	forgetting = 3 * 24 * time.Hour
	solveEvery = time.Minute
)

// Regression is ridge regression by normal equations that forget.
type Regression struct {
	Gram    [features * (features + 1) / 2]float64 // lower triangle, by rows
	Moment  [features]float64
	Weights [features]float64
	Solved  time.Time
}

// learn adds one sample.
func (r Regression) learn(f [features]float32, target float64) Regression {
	keep := math.Exp(-float64(NewestOver) / float64(forgetting))
	target = math.Min(target, 10)
	k := 0
	for i := range f {
		for j := 0; j <= i; j++ {
			r.Gram[k] = keep*r.Gram[k] + float64(f[i])*float64(f[j])
			k++
		}
		r.Moment[i] = keep*r.Moment[i] + float64(f[i])*target
	}
	return r
}

// solve finds the weights, once in a while, by Cholesky decomposition. Where
// that fails they stay what they were.
func (r Regression) solve(at time.Time) Regression {
	if at.Sub(r.Solved) < solveEvery && !r.Solved.After(at) {
		return r
	}
	gram, moment := mat.NewSymDense(features, nil), mat.NewVecDense(features, nil)
	k := 0
	for i := range features {
		for j := range i + 1 {
			gram.SetSym(i, j, r.Gram[k])
			k++
		}
		gram.SetSym(i, i, gram.At(i, i)+ridge)
		moment.SetVec(i, r.Moment[i])
	}
	moment.SetVec(levelFeature, moment.AtVec(levelFeature)+ridge)
	var cholesky mat.Cholesky
	weights := mat.NewVecDense(features, nil)
	if !cholesky.Factorize(gram) || cholesky.SolveVecTo(weights, moment) != nil {
		return r
	}
	r.Solved = at
	copy(r.Weights[:], weights.RawVector().Data)
	return r
}

// predict is the expected demand relative to the level.
func (r *Regression) predict(f [features]float32) float64 {
	if r.Solved.IsZero() {
		return 1
	}
	sum := 0.0
	for i, v := range f {
		sum += r.Weights[i] * float64(v)
	}
	return sum
}
