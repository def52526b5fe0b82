package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/emulator"
	"github.com/penstock/penstock/internal/scale"
)

type emulateCmd struct {
	Host            string        `help:"Address to listen at." default:"127.0.0.1"`
	Port            int           `help:"Port to listen at; 0 is any free one, and the log says which." default:"9000"`
	Model           []string      `help:"Name of the model; more names are aliases of it." required:"" placeholder:"NAME"`
	Profile         string        `help:"Profile of the catalogue that says how fast it is." default:"8b-a100"`
	File            string        `short:"f" help:"Configuration file that has --variant of --model, whose profile is taken instead." placeholder:"FILE" and:"variant"`
	Variant         string        `help:"Variant of that file." placeholder:"NAME" and:"variant"`
	LoadDelay       time.Duration `help:"Time to load; connections are refused until then." default:"20s"`
	ShutdownTimeout time.Duration `help:"Time that requests in flight may take after SIGTERM; 0s cuts them off." default:"0s"`
}

// Help is the long help, with an example.
func (emulateCmd) Help() string {
	return `It has the API and the metrics of vLLM, batches continuously in real time as the profile says, and replies with made-up
tokens that "penstock load" can verify. It says that it is emulated in /v1/models, in its log and in every response.

Example:

  penstock emulate --model demo/llm --load-delay 8s &
  curl -N 127.0.0.1:9000/v1/chat/completions -d '{"model":"demo/llm","stream":true,"max_tokens":20,
    "messages":[{"role":"user","content":"How deep is the sea?"}]}'`
}

func (c *emulateCmd) Run(ctx context.Context, std Streams) error {
	profile, err := c.profile()
	if err != nil {
		return usageError{err}
	}
	if c.Port < 0 || c.Port > 65535 {
		return usageError{fmt.Errorf("--port: %d is not a port", c.Port)}
	}
	if c.LoadDelay < 0 || c.ShutdownTimeout < 0 {
		return usageError{fmt.Errorf("--load-delay %s and --shutdown-timeout %s: a time may not be negative", c.LoadDelay, c.ShutdownTimeout)}
	}
	// One engine needs no more, and idle threads that look for work cost a
	// quarter of the CPU time where a machine runs a dozen of these.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	server := emulator.Server{
		Profile: profile, Model: c.Model[0], Aliases: c.Model[1:],
		LoadDelay: c.LoadDelay, DrainTimeout: c.ShutdownTimeout,
		Logger: slog.New(slog.NewTextHandler(std.Err, nil)),
	}
	return server.Serve(ctx, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
}

// profile is how fast the emulated engine is.
func (c *emulateCmd) profile() (scale.Profile, error) {
	if c.File == "" {
		catalogue := config.Catalogue()
		profile, ok := catalogue.Profile(c.Profile)
		if !ok {
			return profile, fmt.Errorf("--profile: %q is none of %s", c.Profile, strings.Join(catalogue.ProfileNames(), ", "))
		}
		return profile, nil
	}
	loaded, err := config.Load(c.File)
	if err != nil {
		return scale.Profile{}, err
	}
	for _, m := range loaded.Models {
		if v, ok := m.Variant(c.Variant); ok && m.Name == c.Model[0] {
			return v.Profile, nil
		}
	}
	return scale.Profile{}, fmt.Errorf("--variant: %s has no variant %q of a model %q", c.File, c.Variant, c.Model[0])
}
