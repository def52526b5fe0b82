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
