package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// topPage is what a terminal shows of the fleet.
type topPage int

const (
	topFleet topPage = iota + 1
	topModel
	topDecisions
	topWhy
	topHelp
)

// topView is penstock top on a terminal, as bubbletea drives it.
type topView struct {
	look          func(topQuestion) topSeen
	every         time.Duration
	server        string
	width, height int

	pages    []topPage // where Back leads; the last is shown
	seen     topSeen
	trouble  string
	restarts string // the server's epoch, to tell a restart
	news     string
	newsEnds time.Time

	chosen  string // the model, by name: the order changes
	decided int    // the decision, by its place
	scroll  int
}

// follow shows the fleet until the user leaves it or ctx ends.
func (c topCmd) follow(ctx context.Context, std Streams) error {
	looking, stop := context.WithCancel(ctx)
	defer stop()
	v := topView{look: func(q topQuestion) topSeen { return c.look(looking, q) }, every: c.Every, server: c.Server, pages: []topPage{topFleet}}
	err := onTerminal(ctx, v, tea.WithInput(std.In), tea.WithOutput(std.Out))
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// Init looks for the first time.
func (v topView) Init() tea.Cmd { return v.ask(0) }

// ask looks after a while.
func (v topView) ask(after time.Duration) tea.Cmd {
	q := v.question()
	return tea.Tick(after, func(time.Time) tea.Msg { return v.look(q) })
}

// question is what the page that is shown wants to know.
func (v topView) question() topQuestion {
	switch v.page() {
	case topModel:
		return topQuestion{model: v.chosen}
	case topDecisions:
		return topQuestion{decisions: true}
	case topWhy:
		if v.decided < len(v.seen.decisions) {
			d := v.seen.decisions[v.decided]
			return topQuestion{model: d.Model, decisions: true, at: d.At}
		}
	case topFleet, topHelp:
	}
	return topQuestion{}
}

func (v topView) page() topPage { return v.pages[len(v.pages)-1] }

// Update takes in the terminal's size, keys, and what was seen.
func (v topView) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		v.width, v.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return v.key(msg.String())
	case topSeen:
		v = v.take(msg)
		return v, v.ask(v.every)
	case topOnce:
		v = v.take(topSeen(msg))
	}
	return v, nil
}

// topOnce is what was seen out of turn, when a page was opened.
type topOnce topSeen

// take keeps what was seen, or says why nothing was.
func (v topView) take(seen topSeen) topView {
	if seen.err != nil {
		v.trouble = "connecting again: " + strings.SplitN(seen.err.Error(), ": ", 2)[0]
		return v
	}
	epoch, _, _ := strings.Cut(seen.fleet.ID, ".")
	if v.restarts != "" && v.restarts != epoch {
		v.news, v.newsEnds = "penstock was restarted", time.Now().Add(10*time.Second)
	}
	v.restarts, v.trouble = epoch, ""
	if seen.asked != v.question() { // of a page that was left meanwhile
		v.seen.fleet, v.seen.at = seen.fleet, seen.at
	} else {
		v.seen = seen
	}
	if v.chosen == "" && len(seen.fleet.Models) > 0 {
		v.chosen = seen.fleet.Models[0].Name
	}
	return v
}

// key acts on a key.
func (v topView) key(key string) (tea.Model, tea.Cmd) {
	switch key {
	case "q", "ctrl+c":
		return v, tea.Quit
	case "esc", "backspace", "left", "h":
		if len(v.pages) > 1 {
			v.pages = slices.Clip(v.pages[:len(v.pages)-1])
		}
		return v, v.now()
	case "?":
		return v.open(topHelp)
	case "d":
		if v.page() == topDecisions {
			return v, nil
		}
		v.decided = 0
		return v.open(topDecisions)
	case "enter", "right", "l":
		switch v.page() {
		case topFleet:
			return v.open(topModel)
		case topDecisions:
			return v.open(topWhy)
		case topModel, topWhy, topHelp:
		}
	case "up", "k":
		return v.move(-1), nil
	case "down", "j":
		return v.move(1), nil
	case "pgup":
		return v.move(-10), nil
	case "pgdown", "space":
		return v.move(10), nil
	case "home", "g":
		return v.move(-1 << 20), nil
	case "end", "G":
		return v.move(1 << 20), nil
	}
	return v, nil
}

// open shows a page and looks for what it wants at once.
func (v topView) open(p topPage) (tea.Model, tea.Cmd) {
	if v.page() == p {
		return v, nil
	}
	v.pages = append(slices.Clip(v.pages), p)
	v.scroll = 0
	return v, v.now()
}

func (v topView) now() tea.Cmd {
	q := v.question()
	return func() tea.Msg { return topOnce(v.look(q)) }
}

// move moves what the page points at.
func (v topView) move(by int) topView {
	switch v.page() {
	case topFleet:
		models := v.seen.fleet.Models
		if len(models) > 0 {
			v.chosen = models[max(0, min(len(models)-1, v.place()+by))].Name
		}
	case topDecisions:
		v.decided = max(0, min(len(v.seen.decisions)-1, v.decided+by))
	case topModel, topWhy, topHelp:
		v.scroll = max(0, v.scroll+by)
	}
	return v
}

// place is where the chosen model stands now.
func (v topView) place() int {
	for i, m := range v.seen.fleet.Models {
		if m.Name == v.chosen {
			return i
		}
	}
	return 0
}

// View draws a frame.
func (v topView) View() tea.View {
	view := tea.NewView(v.draw())
	view.AltScreen = true
	view.WindowTitle = "penstock top"
	return view
}

func (v topView) draw() string {
	if v.width == 0 {
		return ""
	}
	f := topFrame{seen: v.seen, server: v.server, columns: max(60, v.width), rows: v.height, chosen: v.place(), trouble: v.trouble}
	var lines []string
	switch {
	case v.page() == topHelp:
		lines = append([]string{f.title("keys"), ""}, topKeys()...)
	case v.seen.fleet.ID == "":
		lines = []string{"penstock top · " + v.server, "", "looking …"}
		if v.trouble != "" {
			lines[2] = v.trouble
		}
	case v.page() == topModel:
		lines = f.model(v.chosen)
	case v.page() == topDecisions:
		lines = f.decisions(v.decided)
	case v.page() == topWhy:
		lines = f.explained()
	default:
		lines = f.fleet()
	}
	room := max(1, v.height-1)
	if scrolls := v.page() == topModel || v.page() == topWhy; scrolls && len(lines) > room {
		from := 1 + min(v.scroll, len(lines)-room)
		lines = append(lines[:1:1], lines[from:]...)
	}
	for len(lines) < room {
		lines = append(lines, "")
	}
	lines = lines[:room]
	for i, line := range lines {
		lines[i] = v.style(i, line)
	}
	return strings.Join(append(lines, v.foot()), "\n")
}

// style says with weight what the text says too: nothing is told by colour
// alone.
func (v topView) style(i int, line string) string {
	text, chosen := strings.CutPrefix(line, topChosen)
	switch {
	case chosen:
		text = lipgloss.NewStyle().Reverse(true).Render(text + strings.Repeat(" ", max(0, v.width-lipgloss.Width(text))))
	case i == 0 && v.trouble != "", i == 1 && v.page() == topFleet:
		text = lipgloss.NewStyle().Bold(true).Render(text)
	case i == 0, strings.HasPrefix(text, "  MODEL "), strings.HasPrefix(text, "  REPLICA "):
		text = lipgloss.NewStyle().Faint(true).Render(text)
	}
	return clip(text, v.width)
}

// foot is the last line: news, or the keys that matter here.
func (v topView) foot() string {
	text := map[topPage]string{
		topFleet: "↑↓ choose  enter open  d decisions  ? keys  q leave", topModel: "esc back  d decisions  q leave",
		topDecisions: "↑↓ choose  enter why  esc back  q leave", topWhy: "↑↓ scroll  esc back  q leave", topHelp: "esc back  q leave",
	}[v.page()]
	if v.news != "" && time.Now().Before(v.newsEnds) {
		text = "◇ " + v.news + "  ·  " + text
	}
	return clip(lipgloss.NewStyle().Faint(true).Render(text), v.width)
}

func topKeys() []string {
	return []string{
		"  up, down, k, j      choose a model or a decision; scroll",
		"  page up, page down  ten at a time; home and end all the way",
		"  enter, right        open what is chosen",
		"  esc, left           back",
		"  d                   decisions that started or drained replicas",
		"  ?                   these keys",
		"  q, ctrl+c           leave",
		"",
		"  ● meeting  ▲ missing its objective  ◔ loading  ◌ asleep  ◇ no fresh data",
		"  REPLICAS is ready (+loading −draining) → wanted. BUDGET is the share of",
		"  the error budget that is left. TTFT and TPOT are medians of the last second.",
		"  It only reads: nothing here changes the fleet.",
	}
}
