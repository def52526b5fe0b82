package report

import (
	"strings"
	"unicode"
)

// width is how many columns of a terminal a text takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// wide are the blocks whose characters take two columns, after Unicode's
// EastAsianWidth.txt (W and F).
var wide = []struct{ from, to rune }{
	{0x1100, 0x115F},
	{0x2E80, 0x303E},
	{0x3041, 0xA4CF},
	{0xA960, 0xA97F},
	{0xAC00, 0xD7A3},
	{0xF900, 0xFAFF},
	{0xFE30, 0xFE6F},
	{0xFF00, 0xFF60},
	{0xFFE0, 0xFFE6},
	{0x1F300, 0x1F64F},
	{0x1F680, 0x1F6FF},
	{0x1F900, 0x1FAFF},
	{0x20000, 0x3FFFD},
}

func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	for _, block := range wide {
		if r >= block.from && r <= block.to {
			return 2
		}
	}
	return 1
}

// plain is a text from a file that may hold anything, made fit for a terminal:
// what does not print, such as an escape, is a dot in the middle.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}

// clip cuts a text in its middle to at most so many columns.
func clip(s string, most int) string {
	if width(s) <= most {
		return s
	}
	runes := []rune(s)
	head, tail, used := 0, len(runes), 1
	for front := true; ; front = !front {
		next := runes[head]
		if !front {
			next = runes[tail-1]
		}
		if used += runeWidth(next); used > most {
			return string(runes[:head]) + "…" + string(runes[tail:])
		}
		if front {
			head++
		} else {
			tail--
		}
	}
}
