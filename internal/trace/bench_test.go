package trace_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/trace"
)

// drain draws requests until b.N are drawn, beginning anew where a source
// ends, and reports what one costs.
func drain(b *testing.B, open func() (trace.Source, error)) {
	b.Helper()
	b.ReportAllocs()
	source, err := open()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, err := source.Next()
		if errors.Is(err, io.EOF) {
			if source, err = open(); err == nil {
				_, err = source.Next()
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := trace.Close(source); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkFamilies(b *testing.B) {
	for _, f := range trace.Families() {
		b.Run(f.Name, func(b *testing.B) {
			drain(b, func() (trace.Source, error) { return f.Open(7*24*time.Hour, trace.Draw{Seed: 1, CV: 1.1}) })
		})
	}
}

func BenchmarkFiles(b *testing.B) {
	dir := os.Getenv("PENSTOCK_TRACES")
	if dir == "" {
		b.Skip("PENSTOCK_TRACES is not set: real traces are not read")
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	chat, err := trace.OpenSample(at("azure_2023_conv.csv.gz"))
	if err != nil {
		b.Fatal(err)
	}
	windows, err := trace.OpenWindows(at("servegen_m-large.tokens.csv.gz"))
	if err != nil {
		b.Fatal(err)
	}
	for name, open := range map[string]func() (trace.Source, error){
		"W1 counts": func() (trace.Source, error) {
			return trace.Counts{Column: "requests", Draw: trace.Draw{CV: 1.1, Tokens: chat}}.Open(at("azure_2024_conv_week_digitised.csv.gz"))
		},
		"W3 clients": func() (trace.Source, error) {
			return trace.Clients{Scale: 0.1, Part: trace.Days(0, 7), Tokens: windows}.Open(at("servegen_m-large.clients.csv.gz"))
		},
		"W6a curve": func() (trace.Source, error) {
			return trace.Curve{Column: "A_prod", MeanRPS: 12, Draw: trace.Draw{CV: 2, Tokens: chat}}.Open(at("sageserve_o365_week_prompt_tokens.csv.gz"))
		},
		"W8 counts": func() (trace.Source, error) {
			return trace.Counts{Scale: 0.1, Part: trace.Days(45, 12), Draw: trace.Draw{CV: 1.5}}.Open(at("worldcup98_1m.csv.gz"))
		},
		"requests": func() (trace.Source, error) { return trace.Open(at("azure_2023_conv.csv.gz")) },
	} {
		b.Run(name, func(b *testing.B) { drain(b, open) })
	}
}
