package emulator

import (
	"encoding/json"
	"errors"
	"net/http"
)

// models answers GET /v1/models.
func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	type card struct {
		ID          string  `json:"id"`
		Object      string  `json:"object"`
		Created     int64   `json:"created"`
		OwnedBy     string  `json:"owned_by"`
		Root        string  `json:"root"`
		Parent      *string `json:"parent"`
		MaxModelLen int     `json:"max_model_len"`
	}
	list := struct {
		Object string `json:"object"`
		Data   []card `json:"data"`
	}{Object: "list"}
	for _, name := range append([]string{s.Model}, s.Aliases...) {
		c := card{
			ID: name, Object: "model", Created: s.core.started.Unix(), OwnedBy: "penstock-emulator",
			Root: s.Model, MaxModelLen: max(0, s.Profile.KVCapacity()),
		}
		if name != s.Model {
			c.Parent = &s.Model
		}
		list.Data = append(list.Data, c)
	}
	writeJSON(w, http.StatusOK, list)
}

// health answers GET /health: 200 with nothing when it serves, as vLLM does.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if !s.core.loaded.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// version answers GET /version.
func version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Version string `json:"version"`
	}{"penstock-emulator"})
}

// refuse writes an error in the form that vLLM gives it.
func refuse(w http.ResponseWriter, err error) {
	f := &fault{status: http.StatusInternalServerError, message: err.Error()}
	errors.As(err, &f)
	kind := "InternalServerError"
	switch f.status {
	case http.StatusNotFound:
		kind = "NotFoundError"
	case http.StatusServiceUnavailable:
		kind = "ServiceUnavailableError"
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		kind = "BadRequestError"
	}
	type detail struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    int     `json:"code"`
	}
	d := detail{Message: f.message, Type: kind, Code: f.status}
	if f.param != "" {
		d.Param = &f.param
	}
	writeJSON(w, f.status, struct {
		Error detail `json:"error"`
	}{d})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A failed write means that the client is gone, which its context says.
	_ = json.NewEncoder(w).Encode(value)
}
