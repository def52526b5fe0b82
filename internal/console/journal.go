package console

import (
	"fmt"
	"time"
)

// JournalView says that the journal can not be written. The fleet goes on
// meanwhile: Decisions are made and done, held in memory, and written when it can.
type JournalView struct {
	Failing string    `json:"failing"`        // why; "" when it is written again
	Since   time.Time `json:"since,omitzero"` // when it began to fail
	Held    int       `json:"held_ticks"`     // in memory, to be written
	Dropped int       `json:"dropped_ticks"`  // that found no room there, and are lost
}

// text is a sentence.
func (j JournalView) text(zone *time.Location) string {
	lost := ""
	if j.Dropped > 0 {
		lost = fmt.Sprintf(" %s found no room and cannot be explained later.", count(j.Dropped, "tick"))
	}
	if j.Failing == "" {
		return "The journal is written again." + lost
	}
	return fmt.Sprintf("The journal has not been written since %s: %s. The fleet goes on; %s held in memory.%s",
		j.Since.In(zone).Format(time.TimeOnly), j.Failing, count(j.Held, "tick")+" "+verb(j.Held, "is", "are"), lost)
}
