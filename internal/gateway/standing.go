package gateway

import "github.com/penstock/penstock/internal/scale"

// Standing returns what the gateway has of a model's requests now.
func (g *Gateway) Standing(model string) scale.Standing {
	if o := g.owner(model); o != nil {
		return o.ask(event{kind: stood}).standing
	}
	return scale.Standing{}
}

func (o *owner) standing() scale.Standing {
	held, _, _ := o.queue.Held()
	s := scale.Standing{Held: held}
	for id, r := range o.replicas {
		if r.inFlight == 0 {
			continue
		}
		if s.InFlight == nil {
			s.InFlight = map[scale.ReplicaID]int{}
		}
		s.InFlight[id] = r.inFlight
	}
	return s
}
