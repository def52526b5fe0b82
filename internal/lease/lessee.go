package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// ErrChanged says that the Lessor's settings are no longer those that the gateway
// began with: it must drain and begin anew.
var ErrChanged = errors.New("the settings have changed")

// Lessee holds the lease of this process's gateway.
type Lessee struct {
	Server   *url.URL
	Token    string // "" for none
	Name     string // unique to this life of this process
	Gateway  Gateway
	Settings Settings
	Logger   *slog.Logger

	once   sync.Once
	client *http.Client
	poked  chan struct{}

	// Of Run alone.
	turn    uint64
	adopted uint64
	until   time.Time // of the lease; zero for none
	routes  map[string][]scale.Route
	unsaid  map[string]scale.Traffic // what a report could not carry
	faulty  bool                     // the last renewal failed
}

func (l *Lessee) prepare() {
	l.once.Do(func() {
		l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}}
		l.poked = make(chan struct{}, 1)
		l.routes, l.unsaid = map[string][]scale.Route{}, map[string]scale.Traffic{}
	})
}

// Fetch asks a Lessor for the settings with which a gateway begins.
func Fetch(ctx context.Context, server *url.URL, token string) (Settings, error) {
	l := &Lessee{Server: server, Token: token}
	l.prepare()
	defer l.client.CloseIdleConnections()
	var s Settings
	if err := l.ask(ctx, http.MethodGet, "/v1/settings", nil, &s); err != nil {
		return s, fmt.Errorf("read the settings of %s: %w", server, err)
	}
	if len(s.Models) == 0 {
		return s, fmt.Errorf("read the settings of %s: %w", server, errNoModels)
	}
	return s, nil
}

var errNoModels = errors.New("they name no models")

// Poke has the lease renewed now: requests are held. It never blocks.
func (l *Lessee) Poke() {
	l.prepare()
	select {
	case l.poked <- struct{}{}:
	default:
	}
}

// Run renews the lease until ctx ends, and gives it back then: drain the gateway
// before. It ends with ErrChanged when there is no other way.
func (l *Lessee) Run(ctx context.Context) error {
	l.prepare()
	defer l.client.CloseIdleConnections()
	next := time.NewTimer(0)
	defer next.Stop()
	over := time.NewTimer(time.Hour)
	defer over.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			l.giveBack(ctx)
			return nil
		case <-over.C:
			l.expire(ctx)
			continue
		case <-l.poked:
			next.Reset(max(0, soonest-time.Since(last)))
			continue
		case <-next.C:
		}
		last = time.Now()
		fell, err := l.renew(ctx)
		switch {
		case errors.Is(err, ErrChanged):
			l.expire(ctx)
			return fmt.Errorf("renew the lease at %s: %w", l.Server, err)
		case err != nil && ctx.Err() == nil:
			if !l.faulty {
				l.Logger.WarnContext(ctx, "lease not renewed", "server", l.Server.String(), "error", err)
			}
			l.faulty = true
			next.Reset(retryAfter)
		case fell: // say at once that others may have it
			next.Reset(soonest)
		default:
			next.Reset(renewEvery)
		}
		over.Reset(l.left())
	}
}

// left is how long the lease lasts.
func (l *Lessee) left() time.Duration {
	if l.until.IsZero() {
		return time.Hour
	}
	return max(0, time.Until(l.until))
}

// renew reports, and goes by the answer. It says whether the share of any
// replica fell.
func (l *Lessee) renew(ctx context.Context) (fell bool, err error) {
	l.turn++
	asked := time.Now()
	if !l.until.IsZero() && !asked.Before(l.until) {
		l.expire(ctx)
	}
	report := Report{Gateway: l.Name, Version: l.Settings.Version, Turn: l.turn, Adopted: l.adopted, Now: asked}
	for _, m := range l.Settings.Models {
		report.Models = append(report.Models, ModelReport{
			Model: m.Name, Standing: l.Gateway.Standing(m.Name), Traffic: l.unsaid[m.Name].Then(l.Gateway.Traffic(m.Name, asked)),
		})
	}
	clear(l.unsaid)
	if !l.until.IsZero() { // not a moment beyond it: then nothing may be sent
		within, cancel := context.WithDeadline(ctx, l.until)
		defer cancel()
		ctx = within
	}
	var given Lease
	if err := l.ask(ctx, http.MethodPost, "/v1/lease", report, &given); err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" { // otherwise it may have been heard
			for _, m := range report.Models {
				l.unsaid[m.Model] = m.Traffic
			}
		}
		return false, err
	}
	if given.Turn != l.turn || given.Term <= 0 {
		return false, errOtherTurn
	}
	until := asked.Add(given.Term)
	if !time.Now().Before(until) {
		return false, errTooLate
	}
	for _, m := range given.Models {
		fell = fell || falls(l.routes[m.Model], m.Routes)
		l.routes[m.Model] = m.Routes
		l.Gateway.Route(m.Model, m.Routes)
	}
	if l.adopted == 0 || l.faulty {
		l.Logger.InfoContext(ctx, "lease taken", "server", l.Server.String())
	}
	l.adopted, l.until, l.faulty = l.turn, until, false
	return fell, nil
}

var (
	errOtherTurn = errors.New("the answer is not one to this renewal")
	errTooLate   = errors.New("the answer came when the lease was over")
)

// falls says whether any replica may be sent less than before.
func falls(before, after []scale.Route) bool {
	share := make(map[scale.ReplicaID]int, len(after))
	for _, r := range after {
		share[r.Replica.ID] = r.BatchLimit
	}
	for _, r := range before {
		if share[r.Replica.ID] < r.BatchLimit {
			return true
		}
	}
	return false
}

// expire has the gateway send nothing new: its lease is worth zero.
func (l *Lessee) expire(ctx context.Context) {
	if l.adopted == 0 {
		return
	}
	l.Logger.WarnContext(ctx, "lease expired", "server", l.Server.String())
	l.adopted, l.until = 0, time.Time{}
	for model, routes := range l.routes {
		for i := range routes {
			routes[i].BatchLimit = 0
		}
		l.Gateway.Route(model, routes)
	}
}

// giveBack says that this gateway has ended.
func (l *Lessee) giveBack(ctx context.Context) {
	l.expire(ctx)
	l.turn++
	report := Report{Gateway: l.Name, Version: l.Settings.Version, Turn: l.turn, Leaving: true, Now: time.Now()}
	var given Lease
	if err := l.ask(context.WithoutCancel(ctx), http.MethodPost, "/v1/lease", report, &given); err != nil {
		l.Logger.WarnContext(ctx, "lease not given back", "server", l.Server.String(), "error", err)
	}
}

// ask sends one request and decodes its answer.
func (l *Lessee) ask(ctx context.Context, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, l.Server.JoinPath(path).String(), bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("ask for %s: %w", path, err)
	}
	request.Header.Set("Content-Type", "application/json")
	if l.Token != "" {
		request.Header.Set("Authorization", "Bearer "+l.Token)
	}
	reply, err := l.client.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if reply.StatusCode != http.StatusOK {
		return refusalOf(reply.Status, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// refusalOf is the error of an answer that is none.
func refusalOf(status string, answer []byte) error {
	var f failure
	switch err := json.Unmarshal(answer, &f); {
	case err != nil || f.Error.Message == "":
		return fmt.Errorf("it answers %q and does not hand out leases: %w", status, errNoLessor)
	case f.Error.Code == codeChanged:
		return ErrChanged
	default:
		return fmt.Errorf("%w: %s", errRefused, f.Error.Message)
	}
}

var (
	errNoLessor = errors.New("pass the address of spec.gateways.listen")
	errRefused  = errors.New("refused")
)
