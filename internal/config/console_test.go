package config

import (
	"path/filepath"
	"testing"
)

// A console that other machines reach needs no leave, as the gateway does: it
// asks for a token.
func TestAConsoleThatOthersReachHasAToken(t *testing.T) {
	for name, c := range map[string]struct {
		spec, want string
	}{
		"loopback":             {"", ""},
		"loopback by name":     {"  console: localhost:8081", ""},
		"loopback of IPv6":     {`  console: "[::1]:8081"`, ""},
		"every address":        {"  console: 0.0.0.0:8081", "/s/console.token"},
		"every address, short": {`  console: ":8081"`, "/s/console.token"},
		"a name":               {"  console: gpu-box:8081", "/s/console.token"},
		"a file of one's own":  {"  console: 0.0.0.0:8081\n  consoleTokenFile: /etc/token", "/etc/token"},
		"asked for":            {"  consoleTokenFile: t", filepath.Join(workingDir(t), "t")},
	} {
		got, err := Parse("p.yaml", []byte(minimal+server("  stateDir: /s\n"+c.spec)))
		if err != nil || got.Server.ConsoleToken != c.want {
			t.Errorf("%s: token in %q, %v; want %q", name, got.Server.ConsoleToken, err, c.want)
		}
	}
}

func workingDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// So do the addresses where other gateways get their share.
func TestGatewaysOfOtherMachinesHaveAToken(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		want Gateways
	}{
		"none":                {"", Gateways{}},
		"loopback":            {"  gateways: {listen: \"127.0.0.1:8082\"}", Gateways{Listen: "127.0.0.1:8082"}},
		"every address":       {"  gateways: {listen: \"0.0.0.0:8082\"}", Gateways{Listen: "0.0.0.0:8082", TokenFile: "/s/gateways.token"}},
		"a file of one's own": {"  gateways: {listen: \"127.0.0.1:8082\", tokenFile: t}", Gateways{Listen: "127.0.0.1:8082", TokenFile: filepath.Join(workingDir(t), "t")}},
	} {
		got, err := Parse("p.yaml", []byte(minimal+server("  stateDir: /s\n"+c.spec)))
		if err != nil || got.Server.Gateways != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got.Server.Gateways, err, c.want)
		}
	}
}
