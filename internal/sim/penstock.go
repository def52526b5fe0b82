package sim

import (
	"time"

	"github.com/penstock/penstock/internal/autoscaler"
	"github.com/penstock/penstock/internal/scale"
)

// Penstock returns the product's own Governor: autoscaler.Step, poked as the
// product is. A Restart takes its Memory through the journal's encoding.
func Penstock(every time.Duration) Governor { return &penstock{every: every} }

type penstock struct {
	every  time.Duration
	memory autoscaler.Memory
}

// Every implements Governor.
func (p *penstock) Every() time.Duration { return p.every }

// Poked implements Heeder: its loop ticks at every poke.
func (*penstock) Poked(Poke) bool { return true }

// Decide implements Governor.
func (p *penstock) Decide(s scale.Snapshot) scale.Decision {
	var d scale.Decision
	d, p.memory = autoscaler.Step(s, p.memory)
	return d
}

// Restart implements Governor. A Memory that cannot be carried over is left
// behind, as the product does.
func (p *penstock) Restart() {
	text, err := p.memory.Encode()
	p.memory = autoscaler.Memory{}
	if err == nil {
		p.memory, _ = autoscaler.DecodeMemory(text)
	}
}

// MemoryBytes implements rememberer.
func (p *penstock) MemoryBytes() int {
	most := 0
	for _, m := range p.memory.Models {
		if text, err := (autoscaler.Memory{Models: []autoscaler.ModelMemory{m}}).Encode(); err == nil {
			most = max(most, len(text))
		}
	}
	return most
}
