package policy

import "github.com/penstock/penstock/internal/scale"

// minimum keeps the Model's least number of replicas.
func minimum(c *Case) {
	n := c.State.Model.Replicas.Min
	c.raise(n, 0, reason(scale.ReasonMin, "Raised to %d: the minimum of %s", n, c.State.Model.Name))
}

// schedules keeps the minimum of every schedule whose window covers now.
func schedules(c *Case) {
	for _, s := range c.State.Model.Schedules {
		if s.Min > 0 && s.Active(c.now) {
			c.raise(s.Min, 0, reason(scale.ReasonSchedule, "Raised to %d: schedule %s is on", s.Min, s.Name))
		}
	}
}

// warmFloor keeps replicas of one capacity type warm, always or during a
// schedule.
func warmFloor(c *Case) {
	floor := c.State.Model.WarmFloor
	if floor.Replicas == 0 || !c.floorActive() {
		return
	}
	c.raise(floor.Replicas, floor.Capacity, reason(scale.ReasonWarmFloor, "Raised to %d %v: the warm floor", floor.Replicas, floor.Capacity))
}

func (c *Case) floorActive() bool {
	during := c.State.Model.WarmFloor.During
	if during == "" {
		return true
	}
	for _, s := range c.State.Model.Schedules {
		if s.Name == during && s.Active(c.now) {
			return true
		}
	}
	return false
}

// aboveFloor is how many replicas of a capacity type there are beyond those that
// are kept warm of it.
func (c *Case) aboveFloor(capacity scale.CapacityType) int {
	floor := c.State.Model.WarmFloor
	if capacity != floor.Capacity || !c.floorActive() {
		return c.count(capacity)
	}
	return max(0, c.count(capacity)-floor.Replicas)
}

// floor is the least number of replicas that no other Model may take from.
func (c *Case) floor() int {
	n := c.State.Model.Replicas.Min
	for _, s := range c.State.Model.Schedules {
		if s.Active(c.now) {
			n = max(n, s.Min)
		}
	}
	if c.floorActive() {
		n = max(n, c.State.Model.WarmFloor.Replicas)
	}
	for _, s := range c.State.Model.Signals {
		if _, called, ok := c.called(s); ok {
			n = max(n, called)
		}
	}
	return n
}
