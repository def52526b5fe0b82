package v1alpha1

import (
	"encoding"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestValuesAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]Duration{
		"800ms": Duration(800 * time.Millisecond), "90s": Duration(90 * time.Second), "1h30m": Duration(90 * time.Minute),
		"28d": Duration(672 * time.Hour), "1d12h": Duration(36 * time.Hour), "0.5d": Duration(12 * time.Hour), "0s": 0, "2.5s": Duration(2500 * time.Millisecond),
	} {
		var got Duration
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %v (%v), want %v", text, time.Duration(got), err, time.Duration(want))
		}
	}
	for text, want := range map[string]Percent{"99%": 0.99, "99.9%": 0.999, "0%": 0, "100%": 1} {
		var got Percent
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %v (%v), want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]Bytes{"16.1GB": 16_100_000_000, "32MiB": 32 << 20, "512B": 512, "1.5kB": 1500, "2TiB": 2 << 40, "0B": 0} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %d (%v), want %d", text, got, err, want)
		}
	}
}

func TestWhatIsNoValueIsRefused(t *testing.T) {
	var duration Duration
	var percent Percent
	var bytes Bytes
	for into, texts := range map[encoding.TextUnmarshaler][]string{
		&duration: {"", "5", "-5s", "+5s", "5 s", "1h2d", "d", "s", ".5s", "5x", "99999999d", "1e3s", "NaNs", "9999999999999999h"},
		&percent:  {"", "99", "0.99", "-1%", "101%", "%", "nan%", "1e1%", "99 %"},
		&bytes:    {"", "16", "-1GB", "16gb", "16 GB", "GB", "1e3GB", "99999999999TB", "infGB"},
	} {
		for _, text := range texts {
			if err := into.UnmarshalText([]byte(text)); err == nil {
				t.Errorf("%q is read as a %T", text, into)
			}
		}
	}
}

func TestWrittenValuesAreReadBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		duration := Duration(rapid.Int64Range(0, int64(36500*24*time.Hour/100)).Draw(t, "duration"))
		text, err := duration.MarshalText()
		var again Duration
		if err != nil || again.UnmarshalText(text) != nil || again != duration {
			t.Fatalf("%d is written %s and read %d", duration, text, again)
		}
		bytes := Bytes(rapid.Int64Range(0, 1<<50).Draw(t, "bytes"))
		text, err = bytes.MarshalText()
		var read Bytes
		if err != nil || read.UnmarshalText(text) != nil || read != bytes {
			t.Fatalf("%d is written %s and read %d", bytes, text, read)
		}
		percent := Percent(float64(rapid.IntRange(0, 100000).Draw(t, "percent")) / 100000)
		text, err = percent.MarshalText()
		var share Percent
		if err != nil || share.UnmarshalText(text) != nil || share-percent > 1e-9 || percent-share > 1e-9 {
			t.Fatalf("%v is written %s and read %v", percent, text, share)
		}
	})
}

func TestDurationsAreWrittenWithoutZeroParts(t *testing.T) {
	for span, want := range map[time.Duration]string{
		2 * time.Minute: "2m", time.Hour: "1h", 90 * time.Minute: "1h30m", 28 * 24 * time.Hour: "28d", time.Minute + time.Second: "1m1s", 0: "0s", 100 * time.Minute: "1h40m",
	} {
		if got, _ := Duration(span).MarshalText(); string(got) != want {
			t.Errorf("%s is written %s, want %s", span, got, want)
		}
	}
}
