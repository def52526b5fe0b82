package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/penstock/penstock/internal/report"
	"github.com/penstock/penstock/internal/scale"
)

// followPlainly prints what happens as lines, and how things stand now and then.
func followPlainly(ctx context.Context, s *show, w io.Writer) error {
	fmt.Fprintf(w, "penstock demo: EMULATED engines, no GPU is used; gateway %s, console %s\n", s.machine.url(), s.machine.consoleURL())
	const every, stand = 250 * time.Millisecond, 5 * time.Second
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	told, stood := 0, time.Duration(0)
	for {
		notes, samples, loaded := s.board.look()
		for _, n := range notes[told:] {
			fmt.Fprintf(w, "%s  %s\n", mark(n.at), n.text)
		}
		told = len(notes)
		if n := len(samples); n > 0 && samples[n-1].at-stood >= stand {
			x := samples[n-1]
			stood = x.at
			fmt.Fprintf(w, "%s    %.0f req/s, %d ready, %d loading, %d draining, %d held, %d in flight; %d of %d answered, %s good\n",
				mark(x.at), x.demand, x.ready, x.starting, x.draining, x.held, x.inFlight,
				loaded.Ended, loaded.Total, report.Share(loaded.Good, loaded.Judged))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// followLive shows the fleet on the whole terminal.
func followLive(ctx context.Context, s *show, std Streams) error {
	err := onTerminal(ctx, liveView{show: s}, tea.WithInput(std.In), tea.WithOutput(std.Err))
	if errors.Is(err, tea.ErrInterrupted) {
		return errors.New("stopped by the keyboard")
	}
	return err
}

// liveView is the demo on a terminal, as bubbletea drives it.
type liveView struct {
	show          *show
	width, height int
}

type frame struct{}

func nextFrame() tea.Cmd {
	return tea.Tick(200*time.Millisecond, func(time.Time) tea.Msg { return frame{} })
}

// Init asks for the first frame.
func (liveView) Init() tea.Cmd { return nextFrame() }

// Update takes in the terminal's size, keys, and the time.
func (v liveView) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		v.width, v.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		if key := msg.String(); key == "q" || key == "ctrl+c" {
			return v, tea.Interrupt
		}
	case frame:
		return v, nextFrame()
	}
	return v, nil
}

// View draws a frame.
func (v liveView) View() tea.View {
	view := tea.NewView(v.draw())
	view.AltScreen = true
	return view
}

func (v liveView) draw() string {
	notes, samples, loaded := v.show.board.look()
	var now sample
	if n := len(samples); n > 0 {
		now = samples[n-1]
	}
	width := max(60, min(v.width, 110))
	bold, faint := lipgloss.NewStyle().Bold(true), lipgloss.NewStyle().Faint(true)
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(clip(fmt.Sprintf(format, args...), width) + "\n") }
	line("%s", bold.Render("penstock demo")+faint.Render("   EMULATED engines: no GPU is used   q quits"))
	line("%s", faint.Render(v.show.machine.url()+"   console "+v.show.machine.consoleURL()))
	line("")
	chart := max(20, width-42)
	line("requests/s  %s %5.0f", pad(strip(samples, chart, func(s sample) float64 { return s.demand }), chart), now.demand)
	line("ready       %s %5d   batch limit %d", pad(strip(samples, chart, func(s sample) float64 { return float64(s.ready) }), chart), now.ready, now.batch)
	line("loading     %s %5d", pad(strip(samples, chart, func(s sample) float64 { return float64(s.starting) }), chart), now.starting)
	line("held        %s %5d", pad(strip(samples, chart, func(s sample) float64 { return float64(s.held) }), chart), now.held)
	line("")
	line("%s   %d of %d answered, %s within the SLO (TTFT %v, TPOT %v); %d interrupted, %d lost, %d corrupted", mark(v.show.board.elapsed()),
		loaded.Ended, loaded.Total, report.Share(loaded.Good, loaded.Judged), v.show.model.SLO.TTFT, v.show.model.SLO.TPOT,
		loaded.Outcomes[scale.Interrupted], loaded.Outcomes[scale.Lost], loaded.Outcomes[scale.Corrupted])
	line("")
	room := max(5, v.height-12)
	for _, n := range notes[max(0, len(notes)-room):] {
		line("%s  %s", mark(n.at), n.text)
	}
	return b.String()
}

func strip(samples []sample, width int, value func(sample) float64) string {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	return report.Sparkline(values, width)
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-lipgloss.Width(text)))
}

// clip cuts a line to the terminal's width, styles included.
func clip(text string, width int) string {
	return lipgloss.NewStyle().MaxWidth(width).Render(text)
}
