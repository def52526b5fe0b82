package bound

import "math"

// tridiagonal is a symmetric positive definite matrix of square blocks: one
// for each step, and a diagonal one between each step and the one before.
type tridiagonal struct {
	size   int
	blocks []float64 // of each step; its inverse after factorise, others eliminated
	couple []float64 // of each step with the one before, its diagonal; 0 in the first
	pinned []bool    // rows that are an equation of their own
	root   []float64 // room for one block
	spare  [2][]float64
}

func newTridiagonal(steps, size int) tridiagonal {
	return tridiagonal{
		size: size, blocks: make([]float64, steps*size*size), couple: make([]float64, steps*size),
		pinned: make([]bool, steps*size), root: make([]float64, size*size),
		spare: [2][]float64{make([]float64, size), make([]float64, size)},
	}
}

func (m *tridiagonal) block(t int) []float64 {
	return m.blocks[t*m.size*m.size : (t+1)*m.size*m.size]
}

// pin makes the unknown of a step and row equal its right-hand side, which is
// to be 0.
func (m *tridiagonal) pin(t, row int) {
	block := m.block(t)
	for j := range m.size {
		block[row*m.size+j], block[j*m.size+row] = 0, 0
	}
	block[row*m.size+row] = 1
	m.pinned[t*m.size+row] = true
}

// factorise eliminates step by step; false when the matrix is not positive
// definite to machine precision.
func (m *tridiagonal) factorise() bool {
	k := m.size
	for t := range len(m.couple) / k {
		block := m.block(t)
		for i := range k {
			if m.pinned[t*k+i] || t > 0 && m.pinned[(t-1)*k+i] {
				m.couple[t*k+i] = 0
			}
		}
		if t > 0 {
			before := m.block(t - 1)
			for i := range k {
				for j := range k {
					block[i*k+j] -= m.couple[t*k+i] * before[i*k+j] * m.couple[t*k+j]
				}
			}
		}
		if !m.invert(block) {
			return false
		}
	}
	return true
}

// invert replaces a positive definite block by its inverse, by Cholesky.
func (m *tridiagonal) invert(a []float64) bool {
	if !m.cholesky(a) {
		return false
	}
	k, l := m.size, m.root
	for c := range k { // each column of the inverse
		for i := range k {
			sum := 0.0
			if i == c {
				sum = 1
			}
			for x := range i {
				sum -= l[i*k+x] * a[x*k+c]
			}
			a[i*k+c] = sum / l[i*k+i]
		}
		for i := k - 1; i >= 0; i-- {
			sum := a[i*k+c]
			for x := i + 1; x < k; x++ {
				sum -= l[x*k+i] * a[x*k+c]
			}
			a[i*k+c] = sum / l[i*k+i]
		}
	}
	return true
}

// cholesky fills root with the lower triangle whose square is a block.
func (m *tridiagonal) cholesky(a []float64) bool {
	k, l := m.size, m.root
	for i := range k {
		for j := range i + 1 {
			sum := a[i*k+j]
			for x := range j {
				sum -= l[i*k+x] * l[j*k+x]
			}
			if i != j {
				l[i*k+j] = sum / l[j*k+j]
				continue
			}
			if !(sum > 0) {
				return false
			}
			l[i*k+i] = math.Sqrt(sum)
		}
	}
	return true
}

// solve replaces a right-hand side by the solution.
func (m *tridiagonal) solve(v []float64) {
	k := m.size
	steps := len(m.couple) / k
	for t := range steps {
		row := v[t*k : (t+1)*k]
		if t > 0 {
			for i := range k {
				row[i] -= m.couple[t*k+i] * v[(t-1)*k+i]
			}
		}
		m.apply(t, row)
	}
	for t := steps - 2; t >= 0; t-- {
		next := v[(t+1)*k : (t+2)*k]
		correction := m.spare[1]
		for i := range k {
			correction[i] = m.couple[(t+1)*k+i] * next[i]
		}
		m.apply(t, correction)
		for i := range k {
			v[t*k+i] -= correction[i]
		}
	}
}

// apply multiplies by the inverse of a step's block.
func (m *tridiagonal) apply(t int, row []float64) {
	k, block := m.size, m.block(t)
	out := m.spare[0]
	for i := range k {
		out[i] = 0
		for j := range k {
			out[i] += block[i*k+j] * row[j]
		}
	}
	copy(row, out)
}
