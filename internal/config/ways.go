package config

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// hostPattern is a host name in lower case, without a port.
var hostPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// checkWays refuses a path or a host that cannot be one model's alone.
func (f *file) checkWays() {
	claimed := map[string]string{} // path or host → metadata.name of the model
	for _, m := range f.models {
		claim := func(at, value string) {
			if other, taken := claimed[value]; taken {
				m.fault(at, "is %q, which belongs to %s already. Give it to one model, once.", value, other)
			}
			claimed[value] = m.Name
		}
		for i, p := range m.Spec.Paths {
			at := fmt.Sprintf("spec.paths[%d]", i)
			m.checkPrefix(at, p)
			claim(at, p)
		}
		for i, host := range m.Spec.Hosts {
			at := fmt.Sprintf("spec.hosts[%d]", i)
			if !hostPattern.MatchString(host) {
				m.fault(at, "is %q. Write a host name in lower case without a port, such as detect.example.com.", host)
			}
			claim(at, host)
		}
	}
}

// checkPrefix refuses what no request could have as the beginning of its path,
// and what the gateway serves by itself.
func (m modelObject) checkPrefix(at, prefix string) {
	plain := (&url.URL{Path: prefix}).EscapedPath()
	first, _, _ := strings.Cut(strings.TrimPrefix(prefix, "/"), "/")
	switch {
	case !strings.HasPrefix(prefix, "/") || prefix != path.Clean(prefix) || plain != prefix:
		m.fault(at, "is %q. Write a path in its plain form, such as /detect: begun by a slash, without one at its end.", prefix)
	case prefix == "/":
		m.fault(at, "is /, which is every path. Use spec.hosts to give a model a whole host.")
	case first == "v1" || first == "v2" || first == "healthz" || first == "readyz" || first == "rerank" || strings.HasPrefix(first, "inference.") || strings.HasPrefix(first, "grpc."):
		m.fault(at, "is %q, and /%s is the gateway's own. Choose another beginning, or use spec.hosts.", prefix, first)
	}
}
