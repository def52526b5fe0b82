package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	stdjson "encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf16"
)

// bodies are 300 and more bodies over which readers of JSON differ, or could.
func bodies() []string {
	const m = `"model":"m"`
	var all []string
	add := func(format string, values ...string) {
		if len(values) == 0 {
			all = append(all, format)
		}
		for _, v := range values {
			all = append(all, strings.ReplaceAll(format, "%", v))
		}
	}
	// The same key, written another way, before or after.
	for i := range "model" {
		for _, escape := range []string{`\u%04x`, `\u%04X`} {
			key := "model"[:i] + fmt.Sprintf(escape, "model"[i]) + "model"[i+1:]
			add(`{"`+key+`":"x",%}`, m)
			add(`{%,"`+key+`":"x"}`, m)
			add(`{"` + key + `":"x"}`)
		}
	}
	similar := []string{
		"Model", "MODEL", "mOdel", "modeL", `\u004dodel`, `MODE\u004c`, "model ", " model", `model\u0000`, `\u0000model`, `mod\u200bel`, "ｍodel", "mоdel",
		`mod\ud800el`, "mod\xffel", `model\t`, "models", "mode", "", `\ufeffmodel`, "model\u0301", "model.model", "model[]", "__proto__", "constructor", "$model", "@model",
	}
	for _, key := range similar {
		add(`{"` + key + `":"x",` + m + `}`)
		add(`{` + m + `,"` + key + `":"x"}`)
	}
	add(`{%,%}`, m)
	add(`{%,"a":1,%}`, m)
	add(`{"model":"m",%}`, `"model":null`, `"model":"m"`, `"model":["x"]`, `"model":{}`, `"model":""`)
	// What stands where a name is wanted.
	add(`{"model":%}`, "null", "true", "false", "0", "1e400", "-0", "[]", "{}", `""`, `["m"]`, `{"model":"m"}`, `"m"`, `"m" "x"`, `"m":"x"`, "m", "'m'", "`m`", `"m`, `m"`, "undefined", "NaN", `u"m"`, `b"m"`, `"m"+"x"`)
	add(`{"model":"%"}`, `\u006d`, `\u006D`, `m\u0000`, `\u0000`, `\n`, "m\x00", "m\n", "m\t", "m\x1f", "m\x7f", "m ", " m", `m\/x`, `m/x`, `\"m\"`, `\\m`, `\m`, `\x6d`, `\u6d`, `\u006`, `\U0000006d`,
		`\ud800`, `\udc00`, `\ud83d\ude00`, `\ude00\ud83d`, `\ud83d\u0041`, `\ud83d`, `m\ud800m`, "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80", "m\xc3", "\ufffd", `\ufffd`, "\ufeffm", "é", `\u00e9`, "e\u0301", strings.Repeat("m", 100_000))
	// Space and what is none.
	for _, space := range []string{" ", "\t", "\n", "\r", "\r\n", "\f", "\v", "\x00", "\x1e", "\xa0", "\u00a0", "\u0085", "\u2028", "\ufeff", "\u3000", "\\n"} {
		add("%{"+m+"}", space)
		add("{%"+m+"}", space)
		add(`{"model"%:"m"}`, space)
		add(`{"model":%"m"}`, space)
		add("{"+m+"%}", space)
		add("{"+m+"}%", space)
	}
	// What is no object, or more than one, or not quite.
	add("%", "", "m", `"model"`, "[]", "["+`{`+m+"}]", `"{\"model\":\"m\"}"`, "1", "null", "{}", "{", "}", `{"model"`, `{"model":`, "{"+m, "{"+m+",", "{"+m+",}", "{,"+m+"}", "{"+m+"}}", "{{"+m+"}}", "{"+m+"]", "["+m+"}",
		"{"+m+"}{}", "{"+m+"}\n{\"model\":\"x\"}", "{"+m+"},", "{"+m+"};", "{"+m+"}//", "/**/{"+m+"}", "{/*\"model\":\"x\"*/"+m+"}", "{//\n"+m+"}", "{#\n"+m+"}", ")]}'\n{"+m+"}", "{"+m+"}\x00", "{"+m+"}\x00{\"model\":\"x\"}", "{"+m+"} x",
		"{'model':'m'}", "{model:\"m\"}", `{"model"="m"}`, `{"model"=>"m"}`, `{"model" "m"}`, `{"a":1 "model":"m"}`, `{"a":1;"model":"m"}`, "data="+"{"+m+"}", "model=m", "<model>m</model>", "---\nmodel: m\n", "{"+m+"}"+strings.Repeat(" ", 10_000), strings.Repeat("\n", 10_000)+"{"+m+"}")
	// Numbers, of which each reader has its own idea.
	add(`{"x":%,`+m+`}`, "01", "+1", ".5", "1.", "1e", "1e+", "0x10", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "-", "1_000", strings.Repeat("9", 5000), "1"+strings.Repeat("0", 400), "0."+strings.Repeat("0", 5000)+"1", "1e99999999999", "１", "1 2", "--1", "0b1", "1n", "1f")
	// Depth.
	for _, depth := range []int{10, 900, 5_000, 9_990, 10_000, 10_001, 100_000} {
		add(`{"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "," + m + "}")
		add(`{` + m + `,"x":` + strings.Repeat(`{"model":`, depth) + "1" + strings.Repeat("}", depth) + "}")
	}
	add(strings.Repeat("[", 100_000))
	add(strings.Repeat(`{"model":`, 100_000))
	// Further in, it is another's key; twice is still twice.
	add(`{%,`+m+`}`, `"metadata":{"model":"x"}`, `"messages":[{"model":"x"}]`, `"a":{"b":1,"b":2}`, `"a":[{"b":1,"\u0062":2}]`, `"a":{"model":"x","model":"y"}`, `"a":"\"model\":\"x\""`, `"a":"},\"model\":\"x\""`, `"a\",\"model":"x"`, `"a":"\\","model":"m"`, `"stream":true,"stream":false`, `"stream":"true"`, `"stream":1`, `"Stream":true`, `"messages":[],"messages":[]`, `"":1,"":2`, `"a":1,"\u0061":2`, `"\/":1,"/":2`, `"é":1,"\u00e9":2`, `"é":1,"e\u0301":2`)
	// Other encodings.
	text := "{" + m + "}"
	add(utf16Of(text, binary.LittleEndian), utf16Of(text, binary.BigEndian), "\xff\xfe"+utf16Of(text, binary.LittleEndian), "\xfe\xff"+utf16Of(text, binary.BigEndian), "\xef\xbb\xbf"+text, "+AHs-"+m+"+AH0-", "\x1f\x8b\x08\x00", "\x00"+text, "\xef\xbb\xbf\xef\xbb\xbf"+text)
	add("%", utf16Of(text, binary.LittleEndian), utf16Of(text, binary.BigEndian), "\xff\xfe"+utf16Of(text, binary.LittleEndian), "\xfe\xff"+utf16Of(text, binary.BigEndian), "\xef\xbb\xbf"+text, "\x1f\x8b\x08\x00", "\x00"+text)
	return all
}

func utf16Of(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// goReads is the model that encoding/json finds, by key as a map and, in any
// case of letters, as a struct.
func goReads(body string) (byKey, byField string, ok bool) {
	var values map[string]stdjson.RawMessage
	var fields struct{ Model string }
	if stdjson.Unmarshal([]byte(body), &values) != nil || stdjson.Unmarshal([]byte(body), &fields) != nil ||
		stdjson.Unmarshal(values["model"], &byKey) != nil {
		return "", "", false
	}
	return byKey, fields.Model, true
}

// Each body is refused, or its model is the one that every reader finds: ours,
// encoding/json's two and, in full, Python's and JavaScript's.
func TestBodiesHaveOneReading(t *testing.T) {
	all := bodies()
	if hostile() {
		all = append(all, `{"x":"`+strings.Repeat("y", 32<<20)+`","model":"m"}`, `{"model":"`+strings.Repeat("m", 32<<20)+`"}`)
	}
	if len(all) < 300 {
		t.Fatalf("only %d bodies", len(all))
	}
	var accepted, models []string
	for _, body := range all {
		got, err := newInspector().(*inspector).inspect([]byte(body))
		if err != nil {
			continue
		}
		accepted, models = append(accepted, body), append(models, got.model)
		if byKey, byField, ok := goReads(body); !ok || byKey != got.model || byField != got.model {
			t.Errorf("%.200q: we read %.50q, encoding/json %.50q and %.50q (%v)", body, got.model, byKey, byField, ok)
		}
	}
	if len(accepted) < 50 || len(accepted) > len(all)*2/3 {
		t.Errorf("%d of %d accepted: too many or too few for a test", len(accepted), len(all))
	}
	others := 0
	if hostile() {
		others = otherReaders(t, accepted, models)
	}
	t.Logf("JSON: %d bodies, %d refused, %d read alike by encoding/json and %d other readers", len(all), len(all)-len(accepted), len(accepted), others)
}

// otherReaders holds bodies against the readers that engines use. Where one
// refuses a body its client gets the engine's 400, and no other model.
func otherReaders(t *testing.T, accepted, models []string) int {
	t.Helper()
	const python = `
import base64, json, sys
sys.set_int_max_str_digits(0) if hasattr(sys, "set_int_max_str_digits") else None
for line in sys.stdin:
    try:
        out = "=" + base64.b64encode(json.loads(base64.b64decode(line))["model"].encode()).decode()
    except Exception as e:
        out = "!" + type(e).__name__
    print(out)
`
	const javascript = `
for (const line of require("fs").readFileSync(0, "latin1").trim().split("\n")) {
  try { console.log("=" + Buffer.from(JSON.parse(Buffer.from(line, "base64").toString("utf8")).model, "utf8").toString("base64")) }
  catch (e) { console.log("!" + e.name) }
}`
	var lines bytes.Buffer
	for _, body := range accepted {
		lines.WriteString(base64.StdEncoding.EncodeToString([]byte(body)) + "\n")
	}
	readers := 0
	for name, command := range map[string][]string{"Python": {"python3", "-c", python}, "JavaScript": {"node", "-e", javascript}} {
		path, err := exec.LookPath(command[0])
		if err != nil {
			t.Logf("%s is not installed", command[0])
			continue
		}
		run := exec.CommandContext(t.Context(), path, command[1:]...)
		run.Stdin = bytes.NewReader(lines.Bytes())
		out, err := run.Output()
		answers := strings.Split(strings.TrimSpace(string(out)), "\n")
		if err != nil || len(answers) != len(accepted) {
			t.Fatalf("%s: %v, %d answers to %d bodies", name, err, len(answers), len(accepted))
		}
		readers++
		read := 0
		for i, answer := range answers {
			if strings.HasPrefix(answer, "!") {
				continue
			}
			read++
			if model, err := base64.StdEncoding.DecodeString(answer[1:]); err != nil || string(model) != models[i] {
				t.Errorf("%.200q: we read %.50q, %s %.50q (%v)", accepted[i], models[i], name, model, err)
			}
		}
		if read < len(accepted)*2/3 {
			t.Errorf("%s read only %d of %d", name, read, len(accepted))
		}
	}
	return readers
}
