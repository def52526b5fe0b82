package lease

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// Bounds on what one asker may cost.
const (
	headerTimeout = 5 * time.Second
	answerTimeout = 10 * time.Second
	maxHeader     = 16 << 10
)

// Serve answers other gateways on a listener, which it closes, until ctx ends.
func (l *Lessor) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           l.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       answerTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(l.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve leases on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve leases on %s: %w", listener.Addr(), err)
	}
	return nil
}

// Handler answers other gateways.
func (l *Lessor) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/settings", func(w http.ResponseWriter, _ *http.Request) { answer(w, l.Settings) })
	mux.HandleFunc("POST /v1/lease", l.lease)
	want := sha256.Sum256([]byte(l.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
		if l.Token != "" && subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			refuse(w, http.StatusUnauthorized, "token_wrong", "This needs the token of spec.gateways.tokenFile, as Authorization: Bearer TOKEN.")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// lease takes a Report and answers with a Lease.
func (l *Lessor) lease(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReport))
	var report Report
	if err == nil {
		err = json.Unmarshal(body, &report)
	}
	switch now := time.Now(); {
	case err != nil:
		refuse(w, http.StatusBadRequest, "report_unreadable", "The body must be one report of a gateway.")
	case report.Gateway == own || len(report.Gateway) > maxName:
		refuse(w, http.StatusBadRequest, "gateway_unnamed", fmt.Sprintf("A gateway needs a name of 1 to %d bytes.", maxName))
	case report.Version != l.Settings.Version:
		refuse(w, http.StatusConflict, codeChanged, "The settings have changed. Read them again.")
	case report.Leaving:
		l.left(report.Gateway, now)
		l.Logger.InfoContext(r.Context(), "gateway left", "gateway", report.Gateway)
		answer(w, Lease{Turn: report.Turn})
	case l.isFull(report.Gateway):
		refuse(w, http.StatusTooManyRequests, "too_many_gateways", fmt.Sprintf("There are %d gateways already.", maxGateways))
	default:
		given, ok := l.renew(report, now)
		if !ok {
			refuse(w, http.StatusConflict, codeLate, "A newer renewal came before this one.")
			return
		}
		if report.Turn == 1 {
			l.Logger.InfoContext(r.Context(), "gateway joined", "gateway", report.Gateway)
		}
		answer(w, given)
	}
}

func (l *Lessor) isFull(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers[name] == nil && len(l.peers) >= maxGateways
}

func answer(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "internal", "The answer could not be written: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(failed(code, message))
}
