package trace

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestWhatWasMeasuredComesBack(t *testing.T) {
	m := Measured{
		Bin:      10 * time.Minute,
		Requests: []float64{1200.5, 0, 600.25, 3000.5}, PromptTokens: []float64{400, 0, 0, 4000}, OutputTokens: []float64{100, 0, 50, 300},
	}
	source, err := m.Source(Draw{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	var counts, prompts, outputs [4]float64
	for r, err := range All(source) {
		if err != nil {
			t.Fatal(err)
		}
		bin := r.At.Sub(Epoch()) / m.Bin
		counts[bin]++
		prompts[bin] += float64(r.PromptTokens)
		outputs[bin] += float64(r.OutputTokens)
	}
	if want := [4]float64{1200, 0, 600, 3001}; counts != want {
		t.Errorf("%v requests, want %v", counts, want)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.08*want {
			t.Errorf("%s is %.0f on average, want %.0f", what, got, want)
		}
	}
	near("a prompt of the first bin", prompts[0]/counts[0], 400)
	near("a prompt of a bin without a mean", prompts[2]/counts[2], (1200.5*400+3000.5*4000)/4201)
	near("a prompt of the last bin", prompts[3]/counts[3], 4000)
	near("an output of the first bin", outputs[0]/counts[0], 100)
	near("an output of the last bin", outputs[3]/counts[3], 300)
}

func TestWhatWasMeasuredWithoutTokens(t *testing.T) {
	source, err := Measured{Bin: time.Minute, Requests: []float64{2}}.Source(Draw{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := source.Next(); err != nil || r.PromptTokens != 0 || r.OutputTokens != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	for name, m := range map[string]Measured{
		"bins of nothing": {Requests: []float64{1}},
		"NaN":             {Bin: time.Minute, Requests: []float64{math.NaN()}},
		"less than none":  {Bin: time.Minute, Requests: []float64{-1}},
	} {
		if _, err := m.Source(Draw{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestMeansOfConversationAreThoseOfItsDraws(t *testing.T) {
	chat, random := Conversation(), rand.New(rand.NewPCG(1, 1))
	var prompt, output float64
	const n = 200_000
	for range n {
		p, o := chat.Draw(0, random)
		prompt, output = prompt+float64(p)/n, output+float64(o)/n
	}
	if math.Abs(prompt-chat.Prompt.mean()) > 0.01*prompt || math.Abs(output-chat.Output.mean()) > 0.01*output {
		t.Errorf("drawn %.1f and %.1f, computed %.1f and %.1f", prompt, output, chat.Prompt.mean(), chat.Output.mean())
	}
}

func TestARowsModelMayHaveAnotherName(t *testing.T) {
	r, err := NewReader("chat.csv", strings.NewReader("t_ms,in_tokens,out_tokens,model\n0,1,1,a\n5,1,1,b\n"))
	if err != nil {
		t.Fatal(err)
	}
	r.Rename = func(model string) (string, error) {
		if model != "a" {
			return "", errors.New("no such model")
		}
		return "A", nil
	}
	if first, err := r.Next(); err != nil || first.Model != "A" {
		t.Errorf("%+v, %v", first, err)
	}
	if _, err := r.Next(); err == nil || err.Error() != "read trace chat.csv:3: no such model" {
		t.Errorf("got %v", err)
	}
}
