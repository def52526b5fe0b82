package cli

import (
	"context"

	tea "charm.land/bubbletea/v2"
)

// onTerminal shows a view until its user leaves it or ctx ends.
//
// The program is told to quit when ctx ends, and is not given ctx itself: a
// bubbletea program whose context ends is killed, and then closes the terminal
// under the goroutine that still reads from it.
func onTerminal(ctx context.Context, view tea.Model, options ...tea.ProgramOption) error {
	program := tea.NewProgram(view, append(options, tea.WithoutSignalHandler())...)
	defer context.AfterFunc(ctx, program.Quit)()
	_, err := program.Run()
	return err
}
