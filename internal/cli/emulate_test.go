package cli_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/cli"
)

func TestEmulateServesAndEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- cli.Main(ctx, []string{"emulate", "--port", "0", "--model", "org/m,lora", "--load-delay", "10ms"},
			cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: writer})
		writer.Close()
	}()
	log := new(strings.Builder)
	address := emulateAddress(t, io.TeeReader(reader, log))
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/models", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	models, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(models), `"id":"org/m"`) || !strings.Contains(string(models), `"id":"lora"`) {
		t.Errorf("models %s", models)
	}
	stop()
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d, log %s", got, log)
	}
}

// emulateAddress reads the log up to the line that says where it serves.
func emulateAddress(t *testing.T, log io.Reader) string {
	t.Helper()
	serving := regexp.MustCompile(`msg=serving address=(\S+)\n`)
	var text []byte
	buf := make([]byte, 1024)
	for {
		n, err := log.Read(buf)
		text = append(text, buf[:n]...)
		if match := serving.FindSubmatch(text); match != nil {
			return string(match[1])
		}
		if err != nil {
			t.Fatalf("it ended with %s", text)
		}
	}
}

func TestEmulateRefusesWhatMakesNoSense(t *testing.T) {
	for name, args := range map[string][]string{
		"no model":            {},
		"an unknown profile":  {"--model", "m", "--profile", "9b-abacus"},
		"no port":             {"--model", "m", "--port", "70000"},
		"a negative duration": {"--model", "m", "--load-delay=-1s"},
	} {
		t.Run(name, func(t *testing.T) {
			talk := new(strings.Builder)
			code := cli.Main(t.Context(), append([]string{"emulate"}, args...), cli.Streams{In: strings.NewReader(""), Out: talk, Err: talk})
			if code != 2 || talk.Len() == 0 {
				t.Errorf("exit code %d, talk %q", code, talk)
			}
		})
	}
}
