package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock/penstock/internal/scale"
)

func TestPlaceholdersGetTheirValues(t *testing.T) {
	run := Run{
		Command: []string{"{{penstock}}", "--port={{port}}", "{{ model }}", "{{gpus}}", "x{{replica}}y{{port}}", "{json: {a: 1}}"},
		Env:     map[string]string{"Z": "{{gpus}}", "A": "1"},
	}
	values := Values{Port: 4000, Penstock: "/bin/penstock", Replica: "r-1", Model: "org/{{port}}", GPUs: []int{0, 3}}
	want := []string{"/bin/penstock", "--port=4000", "org/{{port}}", "0,3", "xr-1y4000", "{json: {a: 1}}"}
	if diff := cmp.Diff(want, run.Argv(values)); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"A=1", "Z=0,3"}, run.Environ(values)); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestDirectoriesAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	objects := base()
	put(objects["InferenceAutoscaler"], variant0+".run.dir", "below")
	put(objects[KindServerConfig], "spec.stateDir", "state")
	c, err := Parse(filepath.Join(dir, "p.yaml"), write(t, objects))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Runs[RunKey{Model: "org/model", Variant: "v"}].Dir; got != filepath.Join(dir, "below") {
		t.Errorf("run.dir is %s", got)
	}
	if c.Server.StateDir != filepath.Join(dir, "state") {
		t.Errorf("stateDir is %s", c.Server.StateDir)
	}
}

func TestStateDirectoryIsTheFilesOwn(t *testing.T) {
	for name, c := range map[string]struct{ xdg, home, file, prefix string }{
		"XDG_STATE_HOME comes first":             {"/state", "/home/me", "/etc/chat.yaml", "/state/penstock/chat-"},
		"then the home directory":                {"", "/home/me", "/etc/chat.yaml", "/home/me/.local/state/penstock/chat-"},
		"a relative XDG_STATE_HOME is no answer": {"state", "/home/me", "/etc/chat.yaml", "/home/me/.local/state/penstock/chat-"},
		"without either it is beside the file":   {"", "", "/etc/chat.yaml", "/etc/.penstock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_STATE_HOME", c.xdg)
			t.Setenv("HOME", c.home)
			one, err := Parse(c.file, []byte(minimal))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(one.Server.StateDir, c.prefix) {
				t.Errorf("got %s, want %s…", one.Server.StateDir, c.prefix)
			}
			other, err := Parse("/opt/chat.yaml", []byte(minimal))
			if err != nil {
				t.Fatal(err)
			}
			if one.Server.StateDir == other.Server.StateDir {
				t.Errorf("two files share %s", one.Server.StateDir)
			}
		})
	}
}

func TestOfferingsAreThePricesOfWhatIsUsed(t *testing.T) {
	objects := base()
	put(objects[KindServerConfig], "spec.gpus", []any{tree{"type": "nvidia-a100-80gb", "count": 4}, tree{"type": "nvidia-l4", "count": 1}})
	c, err := Parse("p.yaml", write(t, objects))
	if err != nil {
		t.Fatal(err)
	}
	want := []scale.Offering{
		{Accelerator: "nvidia-a100-80gb", Capacity: scale.OnDemand, PricePerHour: 3, Limited: true, Slots: 4},
		{Accelerator: "nvidia-a100-80gb", Capacity: scale.Spot, PricePerHour: 1, Limited: true, Slots: 4},
	}
	if diff := cmp.Diff(want, c.Offerings); diff != "" {
		t.Errorf("offerings (-want +got):\n%s", diff)
	}
	if c.Models[0].Variants[0].Max != 4 {
		t.Errorf("variant has at most %d replicas, want the four that the GPUs hold", c.Models[0].Variants[0].Max)
	}
}
