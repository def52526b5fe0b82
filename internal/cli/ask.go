package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/penstock/penstock/internal/console"
)

// askCmd is what commands share that ask a running Penstock.
type askCmd struct {
	Server    string `help:"Console of the running penstock." default:"http://127.0.0.1:8081"`
	TokenFile string `help:"File with the console's token, where it asks for one." placeholder:"FILE"`
	JSON      bool   `help:"Print JSON."`
}

const (
	askTimeout = 15 * time.Second
	maxReply   = 64 << 20
)

// fetch asks the console and returns its answer, which is JSON.
func (c askCmd) fetch(ctx context.Context, path string, query url.Values) ([]byte, error) {
	server, err := c.base()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	question := server.JoinPath(path)
	question.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, question.String(), nil)
	if err != nil {
		return nil, usageError{fmt.Errorf("--server %s: %w", c.Server, err)}
	}
	if c.TokenFile != "" {
		token, err := readToken(c.TokenFile)
		if err != nil {
			return nil, usageError{err}
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Do(request)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, nobodyError{server}
	case err != nil:
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxReply))
	if err != nil {
		return nil, fmt.Errorf("ask %s: read its answer: %w", server, err)
	}
	if reply.StatusCode != http.StatusOK {
		return nil, refused(server, reply.Status, body)
	}
	return body, nil
}

// nobodyError says that no Penstock answers at an address.
type nobodyError struct{ server *url.URL }

func (e nobodyError) Error() string {
	return fmt.Sprintf("nothing answers at %s: start `penstock serve -f penstock.yaml`, or pass --server URL", e.server)
}

// base is Server as a URL; the scheme may be left out.
func (c askCmd) base() (*url.URL, error) {
	text := c.Server
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	server, err := url.Parse(text)
	if err != nil || server.Host == "" || server.Scheme != "http" && server.Scheme != "https" {
		return nil, usageError{fmt.Errorf("--server %q is no URL such as http://127.0.0.1:8081", c.Server)}
	}
	return server, nil
}

// refused is the error of an answer that is none. One that was asked wrongly
// is the asker's.
func refused(server *url.URL, status string, body []byte) error {
	var f console.Failure
	if json.Unmarshal(body, &f) != nil || f.Error.Message == "" {
		return fmt.Errorf("%s answers %q and not as a penstock console: pass its address with --server URL", server, status)
	}
	err := errors.New(f.Error.Message)
	switch {
	case strings.HasPrefix(status, "400 "):
		return usageError{err}
	case strings.HasPrefix(status, "401 "):
		return usageError{fmt.Errorf("%s wants its token: pass the file that has it with --token-file", server)}
	}
	return err
}

// decode reads an answer of the console.
func decode[T any](body []byte) (T, error) {
	var answer T
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fmt.Errorf("read the console's answer: %w", err)
	}
	return answer, nil
}
