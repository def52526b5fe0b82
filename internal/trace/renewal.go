package trace

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// Renewal is n requests at an even rate, in requests/s: a Gamma renewal of the
// Draw's CV. The same seed at another rate has the same gaps, stretched.
func Renewal(d Draw, rate float64, n int) (Series, error) {
	g, err := gapsOfCV(d.CV)
	if err != nil {
		return nil, err
	}
	if !(rate > 0) {
		return nil, fmt.Errorf("draw requests at %v a second: a rate is above 0", rate)
	}
	return func(yield func(scale.Request, error) bool) {
		gaps, lengths := rand.New(rand.NewPCG(d.Seed, streamArrivals)), rand.New(rand.NewPCG(d.Seed, streamTokens))
		unit := float64(time.Second) / (rate * g.mean())
		at := 0.0
		for i := range n {
			at += g.draw(gaps) * unit
			r := scale.Request{ID: scale.RequestID(i + 1), At: Epoch().Add(time.Duration(at)), Model: d.Model}
			if d.Tokens != nil {
				r.PromptTokens, r.OutputTokens = d.Tokens.Draw(time.Duration(at), lengths)
			}
			if !yield(r, nil) {
				return
			}
		}
	}, nil
}
