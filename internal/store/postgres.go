package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3/database"
)

// Server is where a PostgreSQL is.
type Server struct {
	URL      string // as libpq reads it, without a password
	Password string // "" for what the environment (PGPASSWORD, PGPASSFILE) or the server's own rules give
}

const (
	connectTime = 3 * time.Second
	keepAlive   = 10 * time.Second
)

// config is how a Server is connected to.
func (p Server) config(application string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(p.URL)
	if err != nil {
		return nil, fmt.Errorf("read its address: %w", err) // pgx masks a password
	}
	if p.Password != "" {
		config.Password = p.Password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTime
	}
	config.DialFunc = (&net.Dialer{Timeout: config.ConnectTimeout, KeepAlive: keepAlive}).DialContext
	config.RuntimeParams["application_name"] = application
	return config, nil
}

// onServer is a base in a PostgreSQL that is not connected to yet.
func onServer(p Server) (*base, *pgx.ConnConfig, string, error) {
	b := &base{
		name: "postgres", dialect: database.DialectPostgres, schema: "postgres", hint: serverHint,
		size: `SELECT CAST(
			(SELECT coalesce(sum(octet_length(body) + coalesce(octet_length(memory), 0)), 0) FROM segments) +
			(SELECT coalesce(sum(octet_length(body) + coalesce(octet_length(memory), 0)), 0) FROM ticks) +
			(SELECT 120 * count(*) FROM decisions) + (SELECT 280 * count(*) FROM history) + (SELECT 150 * count(*) FROM lifetimes) AS BIGINT)`,
	}
	token := rand.Text()
	config, err := p.config("penstock " + token)
	if err != nil {
		return b, nil, "", err
	}
	b.name = "postgres://" + net.JoinHostPort(config.Host, fmt.Sprint(config.Port)) + "/" + config.Database
	return b, config, token, nil
}

// OpenServer opens the journal in a PostgreSQL and brings its schema up to date.
// Only one process may have it open: it holds an advisory lock of the database
// and schema for as long as its writing connection lives, and takes it anew with
// the next. Where another took it in between, this Store writes no more.
func OpenServer(ctx context.Context, p Server) (*Store, error) {
	b, config, token, err := onServer(p)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", b.name, err)
	}
	o := &owner{token: token}
	return begin(ctx, b, func() error {
		b.write = stdlib.OpenDB(*config, stdlib.OptionAfterConnect(o.connected))
		b.write.SetMaxOpenConns(1)
		if err := b.migrate(ctx); err != nil {
			return err
		}
		if _, err := b.write.ExecContext(ctx, `INSERT INTO owner (id, token) VALUES (1, $1)
			ON CONFLICT (id) DO UPDATE SET token = excluded.token`, token); err != nil {
			return fmt.Errorf("take it: %w", err)
		}
		o.named.Store(true)
		return b.readServer(ctx, config)
	})
}

// ReadServer opens the journal in a PostgreSQL to read its past, also while
// another process writes it. There must be one; nothing is changed.
func ReadServer(ctx context.Context, p Server) (*Reader, error) {
	b, config, _, err := onServer(p)
	if err == nil {
		err = b.readServer(ctx, config)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read journal %s: %w", b.name, b.hint(err)), b.close())
	}
	return &Reader{base: b, codec: newCodec()}, nil
}

func (b *base) readServer(ctx context.Context, config *pgx.ConnConfig) error {
	reading := config.Copy()
	// A look at several tables sees one state of them.
	reading.RuntimeParams["default_transaction_isolation"] = "repeatable read"
	reading.RuntimeParams["default_transaction_read_only"] = "on"
	b.read = stdlib.OpenDB(*reading)
	b.read.SetMaxOpenConns(4)
	return b.read.PingContext(ctx)
}

// owner is this process as the one that writes.
type owner struct {
	token string
	named atomic.Bool  // the token is in the database
	pid   atomic.Int64 // of the newest session that held the lock
}

// lockClass is "PENS", so that other programs' advisory locks are others.
const lockClass = 0x50454e53

// Errors of a journal that is another's.
var (
	errInUse = errors.New("another penstock uses it: stop that one, or give this one its own database or schema")
	errTaken = errors.New("another penstock wrote to it while this one could not: restart this one to go on from there")
)

// stale is how long a session that the server does not know to be dead yet is
// waited for: one of our own whose connection was cut, or that of a process that
// was killed a moment ago.
const stale = 2 * time.Second

// connected makes a new writing connection the one that holds the lock.
func (o *owner) connected(ctx context.Context, c *pgx.Conn) error {
	const take = `SELECT pg_try_advisory_lock($1, hashtext(current_schema()))`
	var taken bool
	if err := c.QueryRow(ctx, take, int32(lockClass)).Scan(&taken); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if !taken {
		wait, cancel := context.WithTimeout(ctx, stale)
		defer cancel()
		// Of our own name there is none but the one that was cut off.
		if _, err := c.Exec(wait, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2`,
			o.pid.Load(), "penstock "+o.token); err != nil {
			return fmt.Errorf("end the session that was cut off: %w", err)
		}
		if _, err := c.Exec(wait, `SELECT pg_advisory_lock($1, hashtext(current_schema()))`, int32(lockClass)); err != nil {
			return fmt.Errorf("lock: %w", errors.Join(errInUse, err))
		}
	}
	o.pid.Store(int64(c.PgConn().PID()))
	if !o.named.Load() {
		return nil
	}
	var writes string
	if err := c.QueryRow(ctx, `SELECT token FROM owner WHERE id = 1`).Scan(&writes); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("see who writes: %w", err)
	}
	if writes != o.token {
		return errTaken
	}
	return nil
}

// serverHint adds what to do to the errors of PostgreSQL that a user can mend.
func serverHint(err error) error {
	if err == nil {
		return nil
	}
	advice := ""
	var said *pgconn.PgError
	var network net.Error
	switch {
	case errors.As(err, &said):
		advice = serverAdvice(said)
	case errors.As(err, &network), errors.As(err, new(*pgconn.ConnectError)):
		advice = "the server does not answer: see that it runs and can be reached"
	}
	if advice == "" || strings.Contains(err.Error(), advice) {
		return full(err)
	}
	return fmt.Errorf("%s: %w", advice, err)
}

// serverAdvice is by the codes of PostgreSQL's appendix A.
func serverAdvice(said *pgconn.PgError) string {
	switch said.Code {
	case "28P01", "28000":
		return "the server refuses this user: give the password in a file (passwordFile) or in PGPASSWORD"
	case "3D000":
		return "there is no such database: make it with createdb"
	case "42501":
		return "this user may not: let it own the database, or a schema of it"
	case "25006":
		return "the server only reads: give the address of the one that writes"
	case "53100":
		return "the server's disk is full: free some space"
	case "53300":
		return "the server has no connection left: raise max_connections"
	case "57P01", "57P02", "57P03":
		return "the server is stopping or starting"
	}
	return ""
}
