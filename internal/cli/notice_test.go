package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/local"
)

func TestNotice(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	records := filepath.Join(state, "replicas")
	if err := os.Mkdir(records, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(records, "chat-l4-x7k2q3-001.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		code int
		says string
	}{
		"one that runs":          {[]string{"chat-l4-x7k2q3-001", "--in", "30s", "--state", state}, exitOK, "chat-l4-x7k2q3-001 will be gone in 30s\n"},
		"one that does not run":  {[]string{"chat", "--in", "30s", "--state", state}, exitUsage, "these do: chat-l4-x7k2q3-001\n"},
		"where none runs":        {[]string{"chat", "--in", "30s", "--state", t.TempDir()}, exitUsage, "these do: none\n"},
		"a time gone by":         {[]string{"chat-l4-x7k2q3-001", "--in=-1s", "--state", state}, exitUsage, "-1s is not within"},
		"without a time":         {[]string{"chat-l4-x7k2q3-001", "--state", state}, exitUsage, "--in"},
		"without a file to read": {[]string{"chat", "--in", "30s", "--file", filepath.Join(state, "none.yaml")}, exitUsage, "none.yaml"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, talk bytes.Buffer
			code := Main(context.Background(), append([]string{"notice"}, tc.args...), Streams{In: strings.NewReader(""), Out: &out, Err: &talk})
			if code != tc.code || !strings.Contains(out.String()+talk.String(), tc.says) {
				t.Errorf("exit code %d, want %d; out: %s; talk: %s; want %q in it", code, tc.code, &out, &talk, tc.says)
			}
			text, err := os.ReadFile(filepath.Join(local.NoticeDir(state), tc.args[0]))
			if tc.code == exitOK && string(text) != "gone in 30s\n" {
				t.Errorf("notice file: %q, %v", text, err)
			}
		})
	}
}
