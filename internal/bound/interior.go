package bound

import "math"

// interior is Mehrotra's predictor-corrector method (1992) on a programme in
// the form: minimise c·x with G·x − w = h and w ≥ 0, with multipliers z ≥ 0.
// Each step solves (Gᵀ·diag(z/w)·G)·dx = r. Starts of one kind and step are in
// two rows only and are eliminated; what is left couples a step with itself and
// the one before, and is factored block by block in time proportional to the
// number of steps.
type interior struct {
	*programme
	n, u   []float64 // x: counts and starts, per step and kind
	h      []float64
	active []bool // rows that exist
	w, z   []float64
	many   float64 // active rows

	factor tridiagonal
	diag   []float64 // z/w
	spare  scratch
}

// scratch is room for one step's vectors.
type scratch struct {
	primal, dual []float64 // residuals: by rows, by x
	centre       []float64 // what w·z is to change by
	dn, du       []float64
	dw, dz       []float64
	rows         []float64
}

// The rows, in order, T steps and K kinds: the work of each step (T), the
// replicas of each step (T), and for each step and kind n ≥ 0, n ≤ room,
// u ≥ 0, and u ≥ rise of n.
func (s *interior) blocks() (work, least, lower, upper, starts, rises int) {
	t, c := s.steps, s.steps*s.kinds
	return 0, t, 2 * t, 2*t + c, 2*t + 2*c, 2*t + 3*c
}

// The method ends when bound and relaxation are this close, relatively, or
// when it gets no further: near the optimum rounding undoes its steps.
const (
	precise    = 1e-7
	iterations = 200
	patience   = 8 // steps without a gain, once w·z is small
	small      = 1e-8
)

// solve returns the best bound and the cheapest fractional fleet that it came
// across.
func (l *programme) solve() (bound, relaxed float64) {
	s := newInterior(l)
	work, least, lower, _, _, _ := s.blocks()
	bound, relaxed = 0, math.Inf(1)
	for i, gained := 0, 0; i < iterations; i++ {
		gap := s.residuals()
		if i-gained > patience && gap < small || !s.step(gap) {
			break
		}
		if b := l.dual(l.fitted(multipliers{s.z[work:least], s.z[least:lower]})); b > bound {
			bound, gained = b, i
		}
		if r := l.repaired(append(s.spare.dn[:0], s.n...)); r < relaxed {
			relaxed, gained = r, i
		}
		if relaxed-bound <= precise*relaxed {
			break
		}
	}
	return bound, relaxed
}

func newInterior(l *programme) *interior {
	s := &interior{programme: l}
	cells := l.steps * l.kinds
	rows := 2*l.steps + 4*cells
	room := func(n int) []float64 { return make([]float64, n) }
	s.n, s.u = room(cells), room(cells)
	s.h, s.w, s.z, s.diag, s.active = room(rows), room(rows), room(rows), room(rows), make([]bool, rows)
	s.spare = scratch{
		primal: room(rows), dual: room(2 * cells), centre: room(rows), dn: room(cells), du: room(cells),
		dw: room(rows), dz: room(rows), rows: room(rows),
	}
	s.factor = newTridiagonal(l.steps, l.kinds)
	s.rows()
	for i := range s.n {
		s.n[i] = l.room[i] / 2
		s.u[i] = 0.1
	}
	s.times(s.n, s.u, s.spare.rows)
	for i, on := range s.active {
		s.w[i] = 1
		if on {
			s.w[i], s.z[i] = max(0.1, s.spare.rows[i]-s.h[i]), 0.1
			s.many++
		}
	}
	return s
}

// shrink keeps the inside of what is available from being empty where the work
// takes all of it.
const shrink = 1 - 1e-7

// rows fills in the right-hand sides and which rows there are. A count that
// can only be zero has no bounds, and starts that cost nothing have no rows:
// such unknowns stay where they are.
func (s *interior) rows() {
	work, least, lower, upper, starts, rises := s.blocks()
	for t := range s.steps {
		s.h[work+t], s.active[work+t] = s.work[t]*shrink, s.work[t] > 0
		s.h[least+t], s.active[least+t] = s.least[t]*shrink, s.least[t] > 0
		for k := range s.kinds {
			i := t*s.kinds + k
			s.h[upper+i] = -s.room[i]
			s.active[lower+i], s.active[upper+i] = s.room[i] > 0, s.room[i] > 0
			paid := t > 0 && s.start[k] > 0
			s.active[starts+i], s.active[rises+i] = paid, paid
		}
	}
}

// times computes G·x.
func (s *interior) times(n, u, out []float64) {
	work, least, lower, upper, starts, rises := s.blocks()
	for t := range s.steps {
		served, replicas := 0.0, 0.0
		for k := range s.kinds {
			i := t*s.kinds + k
			served += s.serves[i] * n[i]
			replicas += s.size[k] * n[i]
			out[lower+i], out[upper+i], out[starts+i], out[rises+i] = n[i], -n[i], u[i], 0
			if t > 0 {
				out[rises+i] = u[i] - n[i] + n[i-s.kinds]
			}
		}
		out[work+t], out[least+t] = served, replicas
	}
}

// transposed computes Gᵀ·y, which is zero in rows that are not there.
func (s *interior) transposed(y, n, u []float64) {
	work, least, lower, upper, starts, rises := s.blocks()
	for t := range s.steps {
		for k := range s.kinds {
			i := t*s.kinds + k
			n[i] = s.serves[i]*y[work+t] + s.size[k]*y[least+t] + y[lower+i] - y[upper+i] - y[rises+i]
			if t+1 < s.steps {
				n[i] += y[rises+i+s.kinds]
			}
			u[i] = y[starts+i] + y[rises+i]
		}
	}
}

// residuals fills in how far the rows and the multipliers are from holding,
// and returns the mean of w·z.
func (s *interior) residuals() float64 {
	cells := len(s.n)
	_, _, _, _, starts, _ := s.blocks()
	s.times(s.n, s.u, s.spare.rows)
	gap := 0.0
	for i, on := range s.active {
		s.spare.primal[i] = 0
		if on {
			s.spare.primal[i] = s.h[i] - s.spare.rows[i] + s.w[i]
			gap += s.w[i] * s.z[i]
		}
	}
	dn, du := s.spare.dual[:cells], s.spare.dual[cells:]
	s.transposed(s.z, dn, du)
	for i := range cells {
		k := i % s.kinds
		dn[i], du[i] = s.price[k]-dn[i], s.start[k]-du[i]
		if s.room[i] == 0 {
			dn[i] = 0
		}
		if !s.active[starts+i] {
			du[i] = 0
		}
	}
	return gap / max(1, s.many)
}

// step takes one step towards the optimum; false when it can no more.
func (s *interior) step(gap float64) bool {
	if !s.assemble() {
		return false
	}
	v := &s.spare
	for i := range v.centre {
		v.centre[i] = -s.w[i] * s.z[i]
	}
	s.direction()
	p, d := s.longest()
	after := 0.0
	for i, on := range s.active {
		if on {
			after += (s.w[i] + p*v.dw[i]) * (s.z[i] + d*v.dz[i])
		}
	}
	target := gap * math.Pow(after/max(1, s.many)/gap, 3)
	for i := range v.centre {
		v.centre[i] = target - s.w[i]*s.z[i] - v.dw[i]*v.dz[i]
	}
	s.direction()
	p, d = s.longest()
	p, d = min(1, 0.995*p), min(1, 0.995*d)
	if !(p > 1e-12 || d > 1e-12) || math.IsNaN(p+d) {
		return false
	}
	for i := range s.n {
		s.n[i] += p * v.dn[i]
		s.u[i] += p * v.du[i]
	}
	for i, on := range s.active {
		if on {
			s.w[i] += p * v.dw[i]
			s.z[i] += d * v.dz[i]
		}
	}
	return true
}

// assemble factors Gᵀ·diag(z/w)·G with the starts eliminated.
func (s *interior) assemble() bool {
	work, least, lower, upper, starts, rises := s.blocks()
	for i, on := range s.active {
		if on {
			s.diag[i] = s.z[i] / s.w[i]
		}
	}
	f := &s.factor
	for t := range s.steps {
		block := f.block(t)
		for k := range s.kinds {
			i := t*s.kinds + k
			for j := range s.kinds {
				block[k*s.kinds+j] = s.diag[work+t]*s.serves[i]*s.serves[t*s.kinds+j] + s.diag[least+t]*s.size[k]*s.size[j]
			}
			own := s.diag[lower+i] + s.diag[upper+i] + s.rise(starts, rises, i)
			if t+1 < s.steps {
				own += s.rise(starts, rises, i+s.kinds)
			}
			block[k*s.kinds+k] += own
			f.couple[i] = -s.rise(starts, rises, i)
		}
		for k := range s.kinds {
			if s.room[t*s.kinds+k] == 0 {
				f.pin(t, k)
			}
		}
	}
	return f.factorise()
}

// rise is the weight of a count's rise once the start is eliminated.
func (s *interior) rise(starts, rises, i int) float64 {
	a, b := s.diag[starts+i], s.diag[rises+i]
	if a+b == 0 {
		return 0
	}
	return a * b / (a + b)
}

// direction solves for the step that brings the residuals to zero and changes
// w·z by centre.
func (s *interior) direction() {
	v := &s.spare
	_, _, _, _, starts, rises := s.blocks()
	for i, on := range s.active {
		v.rows[i] = 0
		if on {
			v.rows[i] = v.centre[i]/s.w[i] + s.diag[i]*v.primal[i]
		}
	}
	s.transposed(v.rows, v.dn, v.du)
	cells := len(s.n)
	for i := range cells {
		v.dn[i] -= v.dual[i]
		v.du[i] -= v.dual[cells+i]
	}
	for i := range cells {
		if s.active[starts+i] {
			share := s.diag[rises+i] / (s.diag[starts+i] + s.diag[rises+i]) * v.du[i]
			v.dn[i] += share
			v.dn[i-s.kinds] -= share
		}
	}
	for i, room := range s.room {
		if room == 0 {
			v.dn[i] = 0
		}
	}
	s.factor.solve(v.dn)
	for i := range cells {
		if !s.active[starts+i] {
			v.du[i] = 0
			continue
		}
		v.du[i] = (v.du[i] + s.diag[rises+i]*(v.dn[i]-v.dn[i-s.kinds])) / (s.diag[starts+i] + s.diag[rises+i])
	}
	s.times(v.dn, v.du, v.dw)
	for i, on := range s.active {
		if !on {
			v.dw[i], v.dz[i] = 0, 0
			continue
		}
		v.dw[i] -= v.primal[i]
		v.dz[i] = (v.centre[i] - s.z[i]*v.dw[i]) / s.w[i]
	}
}

// longest returns how far w and z may go along the direction.
func (s *interior) longest() (w, z float64) {
	w, z = 1/0.995, 1/0.995
	for i, on := range s.active {
		if !on {
			continue
		}
		if d := s.spare.dw[i]; d < 0 {
			w = min(w, -s.w[i]/d)
		}
		if d := s.spare.dz[i]; d < 0 {
			z = min(z, -s.z[i]/d)
		}
	}
	return w, z
}
