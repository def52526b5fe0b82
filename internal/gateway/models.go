package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/penstock/penstock/internal/scale"
)

const (
	learnTimeout  = 2 * time.Second
	maxModelsBody = 1 << 20
	// ownOwner is the owned_by of a model none of whose replicas has told its own.
	ownOwner = "penstock"
)

// modelList is the reply of /v1/models.
type modelList struct {
	Object string      `json:"object"`
	Data   []modelCard `json:"data"`
}

// modelCard is one model. Penstock holds what is promised for it, so that a
// load generator can judge replies by it.
type modelCard struct {
	ID       string  `json:"id"`
	Object   string  `json:"object"`
	Created  int64   `json:"created"`
	OwnedBy  string  `json:"owned_by"`
	Parent   *string `json:"parent,omitempty"`
	Penstock struct {
		SLO sloCard `json:"slo"`
	} `json:"penstock"`
}

type sloCard struct {
	TTFT      float64 `json:"ttft_ms"`
	TPOT      float64 `json:"tpot_ms"`
	Latency   float64 `json:"latency_ms"`
	Objective float64 `json:"objective"`
	MaxHold   float64 `json:"max_hold_ms"`
}

func (g *Gateway) listModels(w *visit, r *http.Request) {
	list := modelList{Object: "list", Data: []modelCard{}}
	for _, o := range g.owners {
		if !w.tenant.sees(o.model.Name) {
			continue
		}
		list.Data = append(list.Data, g.card(o, o.model.Name))
		for _, alias := range o.model.Aliases {
			list.Data = append(list.Data, g.card(o, alias))
		}
	}
	writeJSON(w, r, list)
}

func (g *Gateway) oneModel(w *visit, r *http.Request, name string) {
	o, f := g.find(w.tenant, name)
	if f != nil {
		g.reject(w, r, f)
		return
	}
	w.model = o.model.Name
	writeJSON(w, r, g.card(o, name))
}

// find returns the model of a name, if the tenant may use it.
func (g *Gateway) find(t *tenant, name string) (*owner, *refusal) {
	if o := g.byName[name]; o != nil && t.sees(o.model.Name) {
		return o, nil
	}
	return nil, notServed(name, g.names(t))
}

// names returns every name that a tenant may use.
func (g *Gateway) names(t *tenant) []string {
	names := make([]string, 0, len(g.byName))
	for name, o := range g.byName {
		if t.sees(o.model.Name) {
			names = append(names, name)
		}
	}
	return names
}

func (g *Gateway) card(o *owner, name string) modelCard {
	c := modelCard{ID: name, Object: "model", Created: g.started.Unix(), OwnedBy: ownOwner}
	if learned := o.ownedBy.Load(); learned != nil {
		c.OwnedBy = *learned
	}
	if name != o.model.Name {
		c.Parent = &o.model.Name
	}
	slo := o.model.SLO
	c.Penstock.SLO = sloCard{
		TTFT: millis(slo.TTFT), TPOT: millis(slo.TPOT), Latency: millis(slo.Latency),
		Objective: slo.Objective, MaxHold: millis(slo.MaxHold),
	}
	return c
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func writeJSON(w *visit, r *http.Request, v any) {
	body, err := json.Marshal(v)
	if err != nil { // names of models are checked text
		(&refusal{status: http.StatusInternalServerError, kind: serverError, code: "internal"}).write(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

// tellLearn has learn ask a replica when the Ready ones changed, or when none
// has told anything yet.
func (o *owner) tellLearn(routes []scale.Route) {
	var ready strings.Builder
	address := ""
	for _, r := range routes {
		if r.Replica.Phase == scale.Ready {
			address = r.Replica.Address
			ready.WriteString(string(r.Replica.ID) + " ")
		}
	}
	if address == "" || ready.String() == o.fleet && o.ownedBy.Load() != nil {
		return
	}
	select {
	case o.learnFrom <- address:
		o.fleet = ready.String()
	default: // it is asking; the next Route comes soon
	}
}

// learn asks replicas, until ctx ends, to whom their model belongs: an emulated
// engine says that it is one, and clients of the gateway shall see that.
func (o *owner) learn(ctx context.Context) {
	client := http.Client{Transport: o.gateway.transport, Timeout: learnTimeout}
	for {
		select {
		case <-ctx.Done():
			return
		case address := <-o.learnFrom:
			owner, err := ownedBy(ctx, &client, address, o.model.Name)
			if err != nil {
				o.gateway.Logger.DebugContext(ctx, "models of a replica unknown", "model", o.model.Name, "error", err)
				continue
			}
			o.ownedBy.Store(&owner)
		}
	}
}

func ownedBy(ctx context.Context, client *http.Client, address, model string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/models", nil)
	if err != nil {
		return "", fmt.Errorf("ask %s for its models: %w", address, err)
	}
	reply, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask %s for its models: %w", address, foreign(err))
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxModelsBody))
	if err != nil {
		return "", fmt.Errorf("read the models of %s: %w", address, foreign(err))
	}
	var list struct {
		Data []struct {
			ID      string `json:"id"`
			OwnedBy string `json:"owned_by"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return "", fmt.Errorf("decode the models of %s: %w", address, errNoList) // and no word of what it sent
	}
	for _, m := range list.Data {
		if m.ID == model && usableID(m.OwnedBy) {
			return m.OwnedBy, nil
		}
	}
	return "", fmt.Errorf("read the models of %s: %w", address, errNotListed)
}

// errNoList says that a replica answers with something else.
var errNoList = errors.New("they are no list")

// errNotListed says that a replica does not list the model that it serves.
var errNotListed = errors.New("the model is not among them")
