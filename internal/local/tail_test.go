package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/scale"
)

func TestTailIsTheEndOfWhatAReplicaPrinted(t *testing.T) {
	w := World{StateDir: t.TempDir()}
	logs := paths(w.StateDir).logs()
	if err := os.MkdirAll(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(w.StateDir, "secret.log")
	for path, text := range map[string]string{filepath.Join(logs, "chat-1.log"): "one\ntwo\nthree\n", secret: "secret", filepath.Join(logs, "empty-1.log"): ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[scale.ReplicaID]string{"chat-1": "three\n", "empty-1": ""} {
		if text, kept, err := w.Tail(id, 6); err != nil || !kept || string(text) != want {
			t.Errorf("%s: %q, kept %v, %v; want %q", id, text, kept, err, want)
		}
	}
	if text, kept, err := w.Tail("chat-1", 1000); err != nil || !kept || !strings.HasPrefix(string(text), "one\n") {
		t.Errorf("all of it: %q, kept %v, %v", text, kept, err)
	}
	// What is no name leads nowhere.
	for _, id := range []scale.ReplicaID{"chat-2", "", "../secret", "..", "a/b", "chat-1\x00", "CHAT-1", "/etc/passwd"} {
		if text, kept, err := w.Tail(id, 6); err != nil || kept {
			t.Errorf("%q: %q, kept %v, %v", id, text, kept, err)
		}
	}
}
