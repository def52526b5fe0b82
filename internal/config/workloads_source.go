package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// checkSource turns what is written of a source into one.
func (c workloadCheck) checkSource() Source {
	f := c.form.sourceForm
	written := f.sources()
	switch {
	case len(written) == 0:
		for _, kind := range sourceKinds() {
			if c.has(c.path(kind.key)) {
				return Source{} // a fault said why
			}
		}
		c.fault(c.at, "has no source of requests. Name one of requests, counts, curve, clients, generate; or another workload with like.")
		return Source{}
	case len(written) > 1:
		c.fault(c.path(written[1]), "stands beside %s. A workload has one source of requests: leave one of them out.", written[0])
		return Source{}
	}
	kind := sourceKinds()[slices.IndexFunc(sourceKinds(), func(k sourceKey) bool { return k.key == written[0] })]
	for _, key := range []string{"column", "scale", "cv", "from_day", "days", "tokens", "tokens_by_window"} {
		if c.has(c.path(key)) && !slices.Contains(kind.takes, key) {
			c.fault(c.path(key), "has no effect on %s. It takes %s.", kind.key, inWords(kind.takes))
		}
	}
	s := Source{
		Kind:    kind.kind,
		Scale:   c.number(c.path("scale"), f.Scale, aboveZero(1)),
		CV:      c.number(c.path("cv"), f.CV, bounded{otherwise: 1, open: true, most: 20}),
		FromDay: c.number(c.path("from_day"), f.FromDay, bounded{most: 36500}),
		Days:    c.number(c.path("days"), f.Days, bounded{open: true, most: 36500}),
	}
	c.checkSourceFiles(&s)
	return s
}

// checkSourceFiles finds the files of a source and their columns.
func (c workloadCheck) checkSourceFiles(s *Source) {
	f := c.form.sourceForm
	switch s.Kind {
	case FromRequests:
		s.File = c.requests("requests", f.Requests)
	case FromCounts:
		s.File, s.Column = c.column(c.path("counts"), f.Counts, c.path("column"), f.Column)
	case FromCurve:
		at := c.path("curve")
		s.File, s.Column = c.column(join(at, "file"), f.Curve.File, join(at, "column"), f.Curve.Column)
		s.MeanRPS = f.Curve.MeanRPS
		c.number(join(at, "mean_rps"), &f.Curve.MeanRPS, aboveZero(0))
	case FromClients:
		var header []string
		s.File, header = c.file(c.path("clients"), f.Clients)
		if missing := lacks(header, "client", "t_s", "rps", "dist", "shape"); header != nil && missing != "" {
			c.fault(c.path("clients"), "is %s, which has no column %s: a file of clients has client, t_s, rps, dist and shape.", f.Clients, missing)
		}
	case FromShape:
		s.Generate = c.checkGenerate(*f.Generate)
	}
	if f.Tokens != "" {
		s.Tokens = c.requests("tokens", f.Tokens)
	}
	if f.TokensByWindow != "" {
		var header []string
		s.TokensByWindow, header = c.file(c.path("tokens_by_window"), f.TokensByWindow)
		if missing := lacks(header, "t_s", "field", "mean"); header != nil && missing != "" {
			c.fault(c.path("tokens_by_window"), "is %s, which has no column %s: a file of tokens by window has t_s, field, mean and quantiles.", f.TokensByWindow, missing)
		}
	}
}

// requests finds a file of requests.
func (c workloadCheck) requests(key, name string) string {
	file, header := c.file(c.path(key), name)
	if missing := lacks(header, "t_ms", "in_tokens", "out_tokens"); header != nil && missing != "" {
		c.fault(c.path(key), "is %s, which has no column %s: a file of requests has t_ms, in_tokens and out_tokens.", name, missing)
	}
	return file
}

// column finds a file of counts and its column: the named one, or the one that
// is meant.
func (c workloadCheck) column(at, name, columnAt, column string) (string, string) {
	file, header := c.file(at, name)
	switch {
	case header == nil:
	case !slices.Contains(header, "t_s"):
		c.fault(at, "is %s, which has no column t_s: a file of counts has t_s and a column of counts.", name)
	case column == "":
		if source, ok := sourceOf(file, header); ok && source.Kind == FromCounts {
			return file, source.Column
		}
		c.fault(columnAt, "is missing: %s has the columns %s.", name, inWords(header))
	case column == "t_s" || !slices.Contains(header, column):
		c.fault(columnAt, "is %q, which is no column of %s. %s", column, name, didYouMean(column, header[1:]))
	}
	return file, column
}

// checkGenerate turns a family of shapes and its parameters into values.
func (c workloadCheck) checkGenerate(f generateForm) Generate {
	at := c.path("generate")
	path := func(key string) string { return join(at, key) }
	g := Generate{
		Shape: f.Shape, Days: f.Days, MeanRPS: f.MeanRPS,
		Ratio:       c.number(path("ratio"), f.Ratio, bounded{least: 1, most: 1e6}),
		Weekend:     c.number(path("weekend"), f.Weekend, bounded{open: true, most: 10}),
		Models:      c.count(path("models"), f.Models, 0),
		Zipf:        c.number(path("zipf"), f.Zipf, bounded{most: 10}),
		ActiveShare: c.number(path("active_share"), f.ActiveShare, bounded{open: true, most: 1}),
	}
	c.number(path("days"), &f.Days, bounded{open: true, most: 366})
	c.number(path("mean_rps"), &f.MeanRPS, aboveZero(0))
	if f.Diurnal != nil {
		g.Diurnal = *f.Diurnal
	}
	if f.Outlier != nil {
		g.Outlier = Outlier{
			Share:    c.number(path("outlier.share"), &f.Outlier.Share, bounded{open: true, most: 1}),
			InTokens: c.count(path("outlier.in_tokens"), &f.Outlier.InTokens, 0),
		}
	}
	if g.Shape == "" && !c.has(path("shape")) {
		g.Shape = "sparse-fleet"
		if g.Models == 0 {
			c.fault(path("shape"), "is missing. %s", didYouMean("", Shapes()))
		}
	}
	if !slices.Contains(Shapes(), g.Shape) && !c.faulted(path("shape")) {
		c.fault(path("shape"), "is %q. %s", f.Shape, didYouMean(f.Shape, Shapes()))
		return g
	}
	fleet := g.Shape == "sparse-fleet"
	for _, key := range []string{"models", "zipf", "active_share", "diurnal"} {
		if c.has(path(key)) && !fleet {
			c.fault(path(key), "has no effect on shape %s: it is for sparse-fleet.", g.Shape)
		}
	}
	if fleet && g.Models == 0 && !c.faulted(path("models")) {
		c.fault(path("models"), "is missing: a sparse fleet needs a number of models.")
	}
	return g
}

// spotNodes is the largest count of a spot zone: a file's highest count of
// nodes becomes so many, of one replica each.
const spotNodes = 10

// checkSpot turns spot zones into values.
func (c workloadCheck) checkSpot(w Workload) ([]SpotZone, time.Duration) {
	spot := slices.Contains(w.Capacity, scale.Spot)
	for _, key := range []string{"spot_nodes", "notice"} {
		if c.has(c.path(key)) && !spot {
			c.fault(c.path(key), "has no effect without spot in capacity.")
		}
	}
	if !spot {
		return nil, 0
	}
	notice := defaultNotice
	if c.form.Notice != nil {
		notice = time.Duration(*c.form.Notice)
	}
	if len(c.form.SpotNodes) == 0 && !c.faulted(c.path("spot_nodes")) {
		c.fault(c.path("spot_nodes"), "is missing: capacity holds spot, so that it must be said how much there is and when.")
	}
	var zones []SpotZone
	for i, form := range c.form.SpotNodes {
		at := fmt.Sprintf("%s[%d]", c.path("spot_nodes"), i)
		zone, err := c.zone(at, form)
		if err != nil {
			c.fault(at, "is wrong: %v.", err)
		}
		if slices.ContainsFunc(zones, func(z SpotZone) bool { return z.Name == zone.Name && z.Name != "" }) {
			c.fault(at, "is %s again: each zone needs a name of its own.", zone.Name)
		}
		zones = append(zones, zone)
	}
	return zones, notice
}

// zone reads one spot zone.
func (c workloadCheck) zone(at string, form nodesForm) (SpotZone, error) {
	if c.faulted(at) {
		return SpotZone{}, nil
	}
	if form.file == "" {
		zone := zoneMaker{name: form.changes.Name}
		for i, change := range form.changes.Changes {
			if len(change) != 2 {
				return SpotZone{}, fmt.Errorf("changes[%d] has %d numbers, where [seconds, nodes] is wanted", i, len(change))
			}
			if err := zone.add(change[0], change[1]); err != nil {
				return SpotZone{}, fmt.Errorf("changes[%d]: %w", i, err)
			}
		}
		return zone.zone()
	}
	file, header := c.file(at, form.file)
	if header == nil {
		return SpotZone{}, nil
	}
	rows, err := openRows(file)
	if err != nil {
		return SpotZone{}, err
	}
	zone, err := readZone(rows, traceName(form.file))
	return zone, errors.Join(err, rows.close())
}

// readZone reads the change points of a zone's nodes.
func readZone(rows *rows, name string) (SpotZone, error) {
	if missing := lacks(rows.header, "t_s", "nodes"); missing != "" {
		return SpotZone{}, rows.fault(fmt.Errorf("column %s is missing", missing))
	}
	at, nodes := rows.column("t_s"), rows.column("nodes")
	zone := zoneMaker{name: name}
	for {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			made, err := zone.zone()
			if err != nil {
				return SpotZone{}, rows.fault(err)
			}
			return made, nil
		}
		if err != nil {
			return SpotZone{}, err
		}
		t, err := rows.number(row, at)
		if err != nil {
			return SpotZone{}, err
		}
		n, err := rows.number(row, nodes)
		if err != nil {
			return SpotZone{}, err
		}
		if err := zone.add(t, n); err != nil {
			return SpotZone{}, rows.fault(err)
		}
	}
}

// zoneMaker collects the changes of a zone as they are read.
type zoneMaker struct {
	name    string
	changes []SpotChange
}

func (z *zoneMaker) add(seconds, nodes float64) error {
	if !(seconds >= 0 && seconds < longestSpan.Seconds()) || !(nodes >= 0 && nodes < 1e9) || nodes != math.Trunc(nodes) {
		return fmt.Errorf("%v nodes at %v s: times and whole counts of 0 or more are wanted", nodes, seconds)
	}
	at := time.Duration(spanOf(seconds))
	if n := len(z.changes); n > 0 && at <= z.changes[n-1].At {
		return fmt.Errorf("%v s comes after %v s: times ascend", seconds, z.changes[n-1].At.Seconds())
	}
	z.changes = append(z.changes, SpotChange{At: at, Nodes: int(nodes)})
	return nil
}

// zone returns the zone that begins with its first change and lasts until its
// last one, scaled so that its largest count is spotNodes.
func (z *zoneMaker) zone() (SpotZone, error) {
	if len(z.changes) < 2 {
		return SpotZone{}, errors.New("at least two changes are wanted: the last one ends the series")
	}
	most := 0
	for _, c := range z.changes {
		most = max(most, c.Nodes)
	}
	if most == 0 {
		return SpotZone{}, errors.New("there never is a node")
	}
	begin, last := z.changes[0].At, len(z.changes)-1
	zone := SpotZone{Name: z.name, Period: z.changes[last].At - begin}
	for _, c := range z.changes[:last] {
		n := int(math.Round(float64(c.Nodes) * spotNodes / float64(most)))
		if k := len(zone.Changes); k > 0 && zone.Changes[k-1].Nodes == n {
			continue
		}
		zone.Changes = append(zone.Changes, SpotChange{At: c.At - begin, Nodes: n})
	}
	return zone, nil
}

// checkFaults turns faults into values. The share of boots that fail goes to
// the cold start.
func (c workloadCheck) checkFaults(w *Workload) WorkloadFaults {
	if c.form.Faults == nil {
		return WorkloadFaults{}
	}
	f, at := *c.form.Faults, c.path("faults")
	w.ColdStart.Fails = c.number(join(at, "failed_boots"), f.FailedBoots, bounded{otherwise: w.ColdStart.Fails, most: 1})
	days := w.Source.Days
	if days == 0 {
		days = w.Source.Generate.Days
	}
	ends := time.Duration(days * 24 * float64(time.Hour))
	spans := func(key string, all []numbers) []FaultSpan {
		var out []FaultSpan
		for i, n := range all {
			out = append(out, c.faultSpan(fmt.Sprintf("%s[%d]", join(at, key), i), n, ends, "[start, duration]"))
		}
		return out
	}
	faults := WorkloadFaults{
		MetricsMissing: spans("metrics_missing", f.MetricsMissing),
		MetricsStale:   spans("metrics_stale", f.MetricsStale),
		MetricsZero:    spans("metrics_zero", f.MetricsZero),
	}
	for i, n := range f.Quota {
		path := fmt.Sprintf("%s[%d]", join(at, "quota"), i)
		q := QuotaFault{FaultSpan: c.faultSpan(path, n, ends, "[start, duration, share]")}
		if len(n) == 3 {
			if q.Share = n[2]; !(n[2] >= 0 && n[2] < 1) && !c.faulted(path) {
				c.fault(path, "leaves a share of %v. Set it to 0 or more and below 1.", n[2])
			}
		}
		faults.Quota = append(faults.Quota, q)
	}
	for i, s := range f.Restarts {
		path := fmt.Sprintf("%s[%d]", join(at, "restarts"), i)
		c.before(path, time.Duration(s), ends)
		faults.Restarts = append(faults.Restarts, time.Duration(s))
	}
	slices.Sort(faults.Restarts)
	return faults
}

// faultSpan reads [start, duration(, share)] in seconds.
func (c workloadCheck) faultSpan(path string, n numbers, ends time.Duration, form string) FaultSpan {
	wanted := 2
	if form != "[start, duration]" {
		wanted = 3
	}
	switch {
	case c.faulted(path):
		return FaultSpan{}
	case len(n) != wanted:
		c.fault(path, "has %d numbers, where %s is wanted, in seconds.", len(n), form)
		return FaultSpan{}
	case n[0] < 0 || n[1] <= 0 || n[0]+n[1] > longestSpan.Seconds():
		c.fault(path, "begins at %v s and lasts %v s. Begin at 0 or later, and let it last.", n[0], n[1])
		return FaultSpan{}
	}
	s := FaultSpan{From: time.Duration(spanOf(n[0])), For: time.Duration(spanOf(n[1]))}
	c.before(path, s.From, ends)
	return s
}

// before refuses a fault that comes after the end of the workload, where that
// is known.
func (c workloadCheck) before(path string, at, ends time.Duration) {
	if ends > 0 && at >= ends && !c.faulted(path) {
		c.fault(path, "begins at %s, and the workload ends at %s: it would never come.", span(at), span(ends))
	}
}
