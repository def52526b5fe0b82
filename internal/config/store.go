package config

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/penstock/penstock/api/v1alpha1"
)

// Defaults of a StoreSpec.
const (
	defaultKeep     = 7 * 24 * time.Hour
	defaultMaxBytes = 500_000_000
)

// StoreSpec says where the journal is, in a file or in a PostgreSQL, and how
// much of it is kept. Replicas' lives and the history of demand by the hour,
// which are small, are kept for 400 days.
type StoreSpec struct {
	// File of the journal, relative to this file. Default: journal.db in stateDir.
	// +optional
	Path string `json:"path,omitempty"`

	// Address of a PostgreSQL that keeps it instead, such as
	// postgres://penstock@db.example.com/penstock, without a password.
	// +optional
	Postgres string `json:"postgres,omitempty"`

	// File with the password for postgres, relative to this file. Default: what
	// PGPASSWORD in the environment, or the file that PGPASSFILE names, says.
	// +optional
	PasswordFile string `json:"passwordFile,omitempty"`

	// How long every single tick is kept, so that explain can answer for it.
	// +kubebuilder:default="168h"
	// +optional
	Keep v1alpha1.Duration `json:"keep,omitempty"`

	// Most bytes of all that is kept; the oldest ticks go first.
	// +kubebuilder:default="500MB"
	// +optional
	MaxBytes v1alpha1.Bytes `json:"maxBytes,omitempty"`
}

// Store is where the journal is.
type Store struct {
	Path         string // absolute; "" where Postgres keeps it
	Postgres     string // address, without a password
	PasswordFile string // absolute; "" for none
	Keep         time.Duration
	MaxBytes     int64
}

// leastStore is how few bytes hold what always stays of some models.
const leastStore = 10_000_000

// wordPassword finds a password in an address of words, such as host=db
// password=x.
var wordPassword = regexp.MustCompile(`(?i)(^|\s)(ssl)?password\s*=`) //nolint:gochecknoglobals // a constant in all but name

// checkStore resolves where the journal is.
func (f *file) checkStore(spec StoreSpec) Store {
	o, beside := f.server, filepath.Dir(f.absolute)
	s := Store{
		Postgres: spec.Postgres,
		Keep:     o.positive("spec.store.keep", spec.Keep, defaultKeep),
		MaxBytes: int64(o.atLeastOne("spec.store.maxBytes", int(spec.MaxBytes), defaultMaxBytes)),
	}
	if spec.PasswordFile != "" {
		s.PasswordFile = within(beside, spec.PasswordFile)
	}
	switch {
	case spec.Postgres != "" && spec.Path != "":
		o.fault("spec.store.path", "is there beside spec.store.postgres: the journal is in one place. Remove one of them.")
	case spec.Postgres == "" && spec.PasswordFile != "":
		o.fault("spec.store.passwordFile", "is for spec.store.postgres, which is missing.")
	case spec.Postgres != "":
		f.checkPostgres(spec.Postgres)
	case spec.Path != "":
		s.Path = within(beside, spec.Path)
	default:
		s.Path = filepath.Join(f.stateDir(o.Spec.StateDir), "journal.db")
	}
	if s.Keep < time.Hour {
		o.fault("spec.store.keep", "is %s. Set it to 1h or more.", s.Keep)
	}
	if s.MaxBytes < leastStore && !o.faulted("spec.store.maxBytes") {
		o.fault("spec.store.maxBytes", "is %s. Set it to 10MB or more.", text(v1alpha1.Bytes(s.MaxBytes)))
	}
	return s
}

// checkPostgres refuses an address that is none, or that holds a password: files
// are shown, copied and committed. What is wrong is said without showing it.
func (f *file) checkPostgres(address string) {
	const path, inFile = "spec.store.postgres", "Remove it, and give it in a file that spec.store.passwordFile names, or in PGPASSWORD."
	if wordPassword.MatchString(address) {
		f.server.fault(path, "holds a password. %s", inFile)
		return
	}
	if !strings.Contains(address, "://") {
		if !strings.Contains(address, "=") {
			f.server.fault(path, "is no address. Write it like postgres://penstock@db.example.com/penstock.")
		}
		return
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		f.server.fault(path, "is no address. Write it like postgres://penstock@db.example.com/penstock.")
		return
	}
	_, inUser := u.User.Password()
	if inUser || u.Query().Has("password") || u.Query().Has("sslpassword") {
		f.server.fault(path, "holds a password. %s", inFile)
	}
}
