package config

import "slices"

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
		if s.Days > 0 {
			s.Generate.Days, s.Days = min(s.Generate.Days, s.Days), 0
		}
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
