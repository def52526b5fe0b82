package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLastWordsNameTheCause(t *testing.T) {
	for name, tc := range map[string]struct{ log, want string }{
		"an empty log": {"", ""},
		"one line":     {"ready\n", "ready"},
		"no error":     {"loading\nloaded\n", "loaded"},
		"llama.cpp names the cause first": { // recorded, build 10434
			"0.00.050.634 I srv    load_model: loading model 'x.gguf'\n" +
				"0.00.050.735 E gguf_init_from_file: failed to open GGUF file 'x.gguf' (No such file or directory)\n" +
				"0.00.050.847 E cmn  common_init_: failed to load model 'x.gguf'\n" +
				"0.00.050.851 I srv    operator(): operator(): cleaning up before exit...\n" +
				"0.00.051.310 E srv  llama_server: exiting due to model loading error\n",
			"0.00.050.735 E gguf_init_from_file: failed to open GGUF file 'x.gguf' (No such file or directory) … " +
				"0.00.051.310 E srv  llama_server: exiting due to model loading error",
		},
		"a Python traceback ends with it": {
			"Traceback (most recent call last):\n  File \"x.py\", line 1\nValueError: no GPU\n", "ValueError: no GPU",
		},
		"long lines": {
			"error " + strings.Repeat("é", 300) + "\nend\n", "error " + strings.Repeat("é", 147) + "… … end",
		},
		"an error long ago": {"error\n" + strings.Repeat("line\n", 4000), "line"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(path, []byte(tc.log), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := lastWords(path); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
	if got := lastWords(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("a log that is not there says %q", got)
	}
}
