package trace

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

const (
	// clientWindow is how long a row of a file of clients holds.
	clientWindow = 10 * time.Minute
	// maxClientRows bounds the rows of a file of clients, which are held in
	// memory, at 16 MB: five times those of ServeGen's m-large.
	maxClientRows = 1 << 19
)

// Clients draws requests from a file of clients as ServeGen publishes them
// (arXiv 2505.09999): client, t_s, rps, dist (G for Gamma, W for Weibull) and
// shape, for windows of ten minutes. Each client and window has
// rps × 600 × Scale arrivals, whose fraction is carried to the client's next
// window, at the ends of all but the last of as many gaps and one that fill
// the window. Rows of one client are in order of time; a window that is left
// out has no arrivals.
type Clients struct {
	Scale  float64 // of the rates; 0 stands for 1
	Part   Part
	Seed   uint64
	Tokens Tokens
	Model  string // of every request; the tenant is the client's name
}

// Open reads a file whole.
func (c Clients) Open(path string) (*Crowd, error) {
	return opened(path, func(t *table) (*Crowd, error) {
		crowd, err := c.from(t)
		return crowd, errors.Join(err, t.Close())
	})
}

// Read reads a stream whole; name stands for it in errors.
func (c Clients) Read(name string, from io.Reader) (*Crowd, error) {
	t, err := newTable(name, from)
	if err != nil {
		return nil, err
	}
	return c.from(t)
}

// Crowd is many clients, each with its own arrivals and lengths, merged in
// order of time.
type Crowd struct {
	clients []*client
	agenda  agenda
	part    Part
	pen     pen
	started bool
}

// client is one of a Crowd.
type client struct {
	name    string
	windows []clientWindowRow
	places  *places
	carry   carry
	factor  float64 // arrivals per request/s
}

type clientWindowRow struct {
	rate   float64 // requests/s
	number int32   // window since the beginning
	shape  float32
	law    law
}

func (c Clients) from(t *table) (*Crowd, error) {
	factor, err := factorOf(c.Scale)
	if err != nil {
		return nil, err
	}
	if err := c.Part.check(); err != nil {
		return nil, err
	}
	reader := clientReader{table: t, most: maxCount / (factor * clientWindow.Seconds())}
	if err := reader.columns(); err != nil {
		return nil, err
	}
	byName := make(map[string]*client)
	crowd := &Crowd{part: c.Part, pen: newPen(Draw{Seed: c.Seed, Tokens: c.Tokens, Model: c.Model}, c.Part.From)}
	for rows := 0; ; rows++ {
		name, row, err := reader.next()
		switch {
		case errors.Is(err, io.EOF) && rows == 0:
			return nil, fmt.Errorf("read trace %s:2: there is no row after the header", t.name)
		case errors.Is(err, io.EOF):
			return crowd, nil
		case err != nil:
			return nil, err
		case rows == maxClientRows:
			return nil, t.fault(fmt.Errorf("a file of clients is held in memory and may have %d rows", maxClientRows))
		}
		one, known := byName[string(name)]
		if !known {
			one = &client{
				name: string(name), factor: factor * clientWindow.Seconds(),
				places: newPlaces(gaps{}, c.Seed, streams+uint64(len(crowd.clients))),
			}
			byName[one.name] = one
			crowd.clients = append(crowd.clients, one)
		}
		if last := len(one.windows) - 1; last >= 0 && row.number <= one.windows[last].number {
			return nil, t.faultAt(reader.time, fmt.Errorf("%s is not after the row before of client %s; sort each client's rows by t_s",
				t.fields[reader.time], one.name))
		}
		one.windows = append(one.windows, row)
	}
}

// clientReader reads the rows of a file of clients.
type clientReader struct {
	table                         *table
	most                          float64 // requests/s
	client, time, rate, law, form int     // columns
}

func (r *clientReader) columns() error {
	for _, c := range []struct {
		name string
		at   *int
	}{{"client", &r.client}, {"t_s", &r.time}, {"rps", &r.rate}, {"dist", &r.law}, {"shape", &r.form}} {
		var err error
		if *c.at, err = r.table.column(c.name); err != nil {
			return err
		}
	}
	return nil
}

func (r *clientReader) next() (name []byte, row clientWindowRow, err error) {
	if err := r.table.next(); err != nil {
		return nil, row, err
	}
	at, err := r.table.seconds(r.time)
	if err != nil {
		return nil, row, err
	}
	if at%clientWindow != 0 {
		return nil, row, r.table.faultAt(r.time, fmt.Errorf("%s is no multiple of 600: windows are ten minutes long", r.table.fields[r.time]))
	}
	row.number = int32(at / clientWindow)
	if row.rate, err = r.table.number(r.rate, r.most); err != nil {
		return nil, row, err
	}
	switch string(r.table.fields[r.law]) {
	case "G":
		row.law = gammaLaw
	case "W":
		row.law = weibullLaw
	default:
		return nil, row, r.table.faultAt(r.law, fmt.Errorf("%q is no law that is known: G (Gamma) or W (Weibull)", r.table.fields[r.law]))
	}
	shape, err := r.table.number(r.form, maxShape)
	if err == nil && shape < minShape {
		err = r.table.faultAt(r.form, fmt.Errorf("%s is below %v", r.table.fields[r.form], minShape))
	}
	row.shape = float32(shape)
	return r.table.fields[r.client], row, err
}

// Next returns the next request, or io.EOF after the last.
func (c *Crowd) Next() (scale.Request, error) {
	if !c.started {
		c.started = true
		for who, one := range c.clients {
			if at, ok := one.next(c.part); ok {
				c.agenda.add(at, who)
			}
		}
	}
	if len(c.agenda) == 0 {
		return scale.Request{}, io.EOF
	}
	first := c.agenda[0]
	one := c.clients[first.who]
	c.pen.tenant = one.name
	request := c.pen.write(first.at)
	if at, ok := one.next(c.part); ok {
		c.agenda.move(at)
	} else {
		c.agenda.drop()
	}
	return request, nil
}

// next returns the client's next arrival, and false after its last one.
func (c *client) next(part Part) (time.Duration, bool) {
	for {
		at, ok := c.places.next()
		switch {
		case !ok && !c.begin(part), ok && at >= part.end():
			return 0, false
		case ok && at >= part.From:
			return at, true
		}
	}
}

// begin goes on to the next window that is within the part.
func (c *client) begin(part Part) bool {
	for len(c.windows) > 0 {
		w := c.windows[0]
		c.windows = c.windows[1:]
		start := time.Duration(w.number) * clientWindow
		if start >= part.end() {
			return false
		}
		if n := c.carry.whole(w.rate * c.factor); n > 0 && start+clientWindow > part.From {
			c.places.gaps = newGaps(w.law, float64(w.shape))
			c.places.begin(start, clientWindow, n)
			return true
		}
	}
	return false
}
