package local

import (
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
)

// lastWords returns what a log file says of why its process ended, for people:
// the first line of its end that tells of an error, and the last line of all.
// Engines name the cause first and then, often several layers up, only that they
// end: llama.cpp's last line is "exiting due to model loading error", vLLM's
// "Engine core initialization failed. See root cause above."
func lastWords(path string) string {
	const tail, longest = 16 << 10, 300 // bytes
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	buffer := make([]byte, tail)
	info, err := file.Stat()
	if err == nil {
		var n int
		n, err = file.ReadAt(buffer, max(0, info.Size()-tail))
		buffer = buffer[:n]
	}
	if errClose := file.Close(); err != nil && !errors.Is(err, io.EOF) || errClose != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(buffer)), "\n")
	last := lines[len(lines)-1]
	tells := regexp.MustCompile(`(?i)\b(error|failed|fatal|panic|exception|cannot|could not|couldn't|no such file)\b`)
	for _, line := range lines[:len(lines)-1] {
		if tells.MatchString(line) {
			return shortened(line, longest) + " … " + shortened(last, longest)
		}
	}
	return shortened(last, longest)
}

// shortened keeps so many bytes of a line at most, whole characters only.
func shortened(line string, longest int) string {
	line = strings.TrimSpace(line)
	if len(line) <= longest {
		return line
	}
	return strings.ToValidUTF8(line[:longest], "") + "…"
}
