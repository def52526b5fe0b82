package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed migrations/*/*.sql
var migrations embed.FS

// base is the database below a Store, and all that differs between SQLite and
// PostgreSQL. Every statement of the journal is one that both understand, with
// parameters $1, $2 and so on; none is put together from anything else.
type base struct {
	name    string // for messages; never a password
	dialect database.Dialect
	schema  string  // the folder of its migrations
	write   *sql.DB // one connection; nil of a Reader
	read    *sql.DB

	size    string // a query for the bytes of live data
	shrink  string // gives free space back after rows were removed; "" where the database does so itself
	hint    func(error) error
	release func() error // lets go of what makes this process the only one
}

func (b *base) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations/"+b.schema)
	if err != nil {
		return err
	}
	// A nil logger of goose means the standard one; Verbose is off, so it
	// says nothing.
	provider, err := goose.NewProvider(b.dialect, b.write, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	current, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	if current > newest {
		return fmt.Errorf("its schema is %d and this penstock knows up to %d: use the newer penstock, or give another place to begin afresh", current, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("update schema %d to %d: %w", current, newest, err)
	}
	return nil
}

// answers asks whether the database is there, so that one that hangs does not
// hold up its asker for as long as writing may take.
func (b *base) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return b.hint(b.write.PingContext(ctx))
}

// inTx runs do in one transaction of the writing connection.
func (b *base) inTx(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := b.write.BeginTx(ctx, nil)
	if err != nil {
		return b.hint(err)
	}
	if err := do(tx); err != nil {
		// The rollback's own error adds nothing: the first one says why.
		_ = tx.Rollback()
		return b.hint(err)
	}
	return b.hint(tx.Commit())
}

func (b *base) close() error {
	var errs []error
	for _, db := range []*sql.DB{b.read, b.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if b.release != nil {
		errs = append(errs, b.release())
		b.release = nil
	}
	return errors.Join(errs...)
}

// full adds what to do where the disk is full.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk is full: free some space: %w", err)
	}
	return err
}
