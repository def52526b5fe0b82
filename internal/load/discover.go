package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/penstock/penstock/internal/scale"
)

// emulated is who owns the models of an emulated engine.
const emulated = "penstock-emulator"

// Discover asks a server which models it serves. A gateway of Penstock adds
// what it promises for each in the field "penstock"; from any other server the
// SLO comes back zero.
func Discover(ctx context.Context, client *http.Client, target string) ([]Model, error) {
	models, err := discover(ctx, client, target+"/v1/models")
	if err != nil {
		return nil, fmt.Errorf("ask %s for its models: %w", target, err)
	}
	return models, nil
}

func discover(ctx context.Context, client *http.Client, url string) ([]Model, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	reply, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", reply.Status, errorText(body))
	}
	return parseModels(body)
}

func parseModels(body []byte) ([]Model, error) {
	var list struct {
		Data []struct {
			ID       string `json:"id"`
			OwnedBy  string `json:"owned_by"`
			Parent   string `json:"parent"` // an alias names its model here
			Penstock struct {
				SLO struct {
					TTFTMs    float64 `json:"ttft_ms"`
					TPOTMs    float64 `json:"tpot_ms"`
					LatencyMs float64 `json:"latency_ms"`
					Objective float64 `json:"objective"`
					MaxHoldMs float64 `json:"max_hold_ms"`
				} `json:"slo"`
			} `json:"penstock"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("decode the list of models: %w", err)
	}
	var models []Model
	for _, m := range list.Data {
		slo := m.Penstock.SLO
		models = append(models, Model{
			Name: m.ID, Alias: m.Parent != "",
			SLO: scale.SLO{
				TTFT: fromMillis(slo.TTFTMs), TPOT: fromMillis(slo.TPOTMs), Latency: fromMillis(slo.LatencyMs),
				Objective: slo.Objective, MaxHold: fromMillis(slo.MaxHoldMs),
			},
			Emulated: m.OwnedBy == emulated,
		})
	}
	return models, nil
}

func fromMillis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
