package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/penstock/penstock/internal/scale"
)

// DamagedError is a row that can not be read. Others still can.
type DamagedError struct {
	Path string
	Row  string // which one, e.g. "tick 12"
	At   time.Time
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("journal %s: %s of %s is damaged: %v", e.Path, e.Row, e.At.UTC().Format(time.RFC3339), e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// Reader reads a journal. Its methods may be called concurrently.
type Reader struct {
	base  *base
	codec *codec
}

// Read opens the journal in a file to read its past, also while another process
// writes it. There must be one; nothing is changed.
func Read(ctx context.Context, path string) (*Reader, error) {
	b := onFile(path)
	if err := b.readFile(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("read journal %s: %w", path, b.hint(err)), b.close())
	}
	return &Reader{base: b, codec: newCodec()}, nil
}

// Close ends reading.
func (r *Reader) Close() error { return r.base.close() }

// Memory returns the Memory after the newest tick, and that tick's time. Both
// are zero where none was ever kept.
func (r *Reader) Memory(ctx context.Context) ([]byte, time.Time, error) {
	var at int64
	var packed []byte
	err := r.base.read.QueryRowContext(ctx, `SELECT at, memory FROM checkpoint WHERE id = 1`).Scan(&at, &packed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read memory from journal %s: %w", r.base.name, r.base.hint(err))
	}
	memory, err := r.codec.zipper.unpack(packed)
	if err != nil {
		return nil, time.Time{}, r.damaged("the newest memory", at, err)
	}
	return memory, time.Unix(0, at), nil
}

func (r *Reader) damaged(row string, at int64, err error) error {
	return &DamagedError{Path: r.base.name, Row: row, At: time.Unix(0, at), Err: err}
}

// Chain is a past tick with all that it takes to decide it again: from Memory,
// one Tick after the other.
type Chain struct {
	Memory []byte         // before the first of Ticks
	Ticks  []scale.Record // oldest first, the one that was asked for last; never empty
	Text   []byte         // of that one's Decision, to the last bit; see Text
	// Broken says why the Decisions can not be made again, though they can be
	// read: the Memory, or a tick, is lost. Then Ticks is the last one alone.
	Broken error
}

// Last is the tick that was asked for.
func (c Chain) Last() scale.Record { return c.Ticks[len(c.Ticks)-1] }

// errNoMemory says that a segment's Memory was lost.
var errNoMemory = errors.New("the memory that it was decided from is lost")

// Chain returns the newest tick at or before t that speaks of the model, and
// false where there is none.
func (r *Reader) Chain(ctx context.Context, model string, t time.Time) (Chain, bool, error) {
	run, err := r.runAt(ctx, nanos(t))
	if err != nil {
		return Chain{}, false, err
	}
	if len(run.documents) == 0 {
		return Chain{}, false, nil
	}
	if c, err := r.chain(run); err != nil || speaksOf(c.Last(), model) {
		return c, err == nil, err
	}
	// The model was not served then; its newest decision says when it was.
	var at int64
	err = r.base.read.QueryRowContext(ctx, `SELECT at FROM decisions WHERE model = $1 AND at <= $2 ORDER BY seq DESC LIMIT 1`,
		model, nanos(t)).Scan(&at)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Chain{}, false, nil
	case err != nil:
		return Chain{}, false, r.failed("find decision of "+model, err)
	}
	if run, err = r.runAt(ctx, at); err != nil || len(run.documents) == 0 {
		return Chain{}, false, err
	}
	c, err := r.chain(run)
	return c, err == nil && speaksOf(c.Last(), model), err
}

// speaksOf says whether a model, by its name or an alias, was served.
func speaksOf(t scale.Record, model string) bool {
	return slices.ContainsFunc(t.Snapshot.Models, func(m scale.ModelState) bool {
		return m.Model.Name == model || slices.Contains(m.Model.Aliases, model)
	})
}

func (r *Reader) failed(what string, err error) error {
	return fmt.Errorf("%s in journal %s: %w", what, r.base.name, r.base.hint(err))
}

// DecisionAt returns the newest tick at or before t that speaks of the model,
// and false where there is none.
func (r *Reader) DecisionAt(ctx context.Context, model string, t time.Time) (scale.Record, bool, error) {
	c, found, err := r.Chain(ctx, model, t)
	if err != nil || !found {
		return scale.Record{}, false, err
	}
	return c.Last(), true, nil
}

// run is the beginning of a segment, or of the tail, up to a tick.
type run struct {
	first     int64 // seq
	documents [][]byte
	memory    []byte // packed; nil where it was lost
	at        int64  // of the last
}

// runAt finds the newest tick at or before a time, and what it follows from.
func (r *Reader) runAt(ctx context.Context, at int64) (found run, err error) {
	err = r.look(ctx, func(tx *sql.Tx) error {
		var begun int64
		var first, last int64
		var pressed, memory []byte
		err := tx.QueryRowContext(ctx, `SELECT first, last, begun, body, memory FROM segments WHERE begun <= $1
			ORDER BY begun DESC, first DESC LIMIT 1`, at).Scan(&first, &last, &begun, &pressed, &memory)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return r.failed("find segment", err)
		}
		segment := err == nil
		newest, err := r.tailAt(ctx, tx, at)
		if err != nil {
			return err
		}
		if len(newest.documents) > 0 && (!segment || newest.at >= begun) {
			found = newest
			return nil
		}
		if !segment {
			return nil
		}
		documents, err := r.open(first, last, begun, pressed)
		if err != nil {
			return err
		}
		after := sort.Search(len(documents), func(i int) bool { return instant(documents[i]) > at })
		found = run{first: first, documents: documents[:max(after, 1)], memory: memory}
		return nil
	})
	return found, err
}

// look runs do in one transaction that sees one state of the journal.
func (r *Reader) look(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := r.base.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return r.failed("look", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return do(tx)
}

// tailAt is runAt among the ticks that are not pressed yet.
func (r *Reader) tailAt(ctx context.Context, tx *sql.Tx, at int64) (run, error) {
	var seq int64
	err := tx.QueryRowContext(ctx, `SELECT seq FROM ticks WHERE at <= $1 ORDER BY at DESC, seq DESC LIMIT 1`, at).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return run{}, nil
	}
	if err != nil {
		return run{}, r.failed("find tick", err)
	}
	rows, err := tail(ctx, tx, seq+1)
	if err != nil {
		return run{}, r.failed("find tick", err)
	}
	begin := len(rows) - 1
	for begin > 0 && rows[begin].memory == nil && rows[begin].seq == rows[begin-1].seq+1 {
		begin--
	}
	rows = rows[begin:]
	found := run{first: rows[0].seq, memory: rows[0].memory, at: rows[len(rows)-1].at}
	for i, k := range rows {
		raw, err := r.openTick(k)
		switch {
		case err != nil && i == len(rows)-1:
			return run{}, err
		case err != nil: // what follows it can be read, and not decided again
			found.first, found.documents, found.memory = k.seq+1, nil, nil
			continue
		}
		found.documents = append(found.documents, raw)
	}
	return found, nil
}

// openTick unpacks a row of ticks.
func (r *Reader) openTick(k kept) ([]byte, error) {
	raw, err := r.codec.zipper.unpack(k.body)
	if err == nil && instant(raw) != k.at {
		err = fmt.Errorf("it is of another time than its row says")
	}
	if err != nil {
		return nil, r.damaged(fmt.Sprintf("tick %d", k.seq), k.at, err)
	}
	return raw, nil
}

// open takes a segment apart.
func (r *Reader) open(first, last, begun int64, pressed []byte) ([][]byte, error) {
	documents, err := r.codec.zipper.release(pressed)
	switch {
	case err != nil:
	case int64(len(documents)) != last-first+1:
		err = fmt.Errorf("it has %d of %d ticks", len(documents), last-first+1)
	case instant(documents[0]) != begun:
		err = fmt.Errorf("it is of another time than its row says")
	}
	if err != nil {
		row := fmt.Sprintf("segment of ticks %d to %d", first, last)
		if first == last {
			row = fmt.Sprintf("tick %d", first)
		}
		return nil, r.damaged(row, begun, err)
	}
	return documents, nil
}

// instant is when a tick was, in Unix nanoseconds; 0 where it does not say.
func instant(document []byte) int64 {
	var at struct{ At time.Time }
	d := jsontext.NewDecoder(bytes.NewReader(document))
	// Only the first member is read: At.
	for range 2 {
		if _, err := d.ReadToken(); err != nil {
			return 0
		}
	}
	if err := json.UnmarshalDecode(d, &at.At); err != nil {
		return 0
	}
	return at.At.UnixNano()
}

// chain decodes a run.
func (r *Reader) chain(n run) (Chain, error) {
	last := n.documents[len(n.documents)-1]
	seq := n.first + int64(len(n.documents)) - 1
	var c Chain
	whole, err := r.tick(last, seq)
	if err != nil {
		return Chain{}, err
	}
	var text struct{ Decision jsontext.Value }
	if err := r.codec.parse(last, &text); err != nil {
		return Chain{}, r.damaged(fmt.Sprintf("tick %d", seq), whole.At.UnixNano(), err)
	}
	c.Text = text.Decision
	if c.Memory, c.Ticks, c.Broken = r.before(n); c.Broken != nil {
		c.Memory, c.Ticks = nil, nil
	}
	c.Ticks = append(c.Ticks, whole)
	c.Ticks[0].Memory = c.Memory
	return c, nil
}

// before is what the last tick of a run follows from.
func (r *Reader) before(n run) (memory []byte, ticks []scale.Record, err error) {
	if memory, err = r.memory(n); err != nil {
		return nil, nil, err
	}
	for i, document := range n.documents[:len(n.documents)-1] {
		t, err := r.tick(document, n.first+int64(i))
		if err != nil {
			return nil, nil, err
		}
		ticks = append(ticks, t)
	}
	return memory, ticks, nil
}

func (r *Reader) memory(n run) ([]byte, error) {
	if n.memory == nil {
		return nil, errNoMemory
	}
	memory, err := r.codec.zipper.unpack(n.memory)
	if err != nil {
		return nil, r.damaged(fmt.Sprintf("the memory before tick %d", n.first), instant(n.documents[0]), err)
	}
	return memory, nil
}

// tick decodes one document.
func (r *Reader) tick(document []byte, seq int64) (scale.Record, error) {
	var b body
	if err := r.codec.parse(document, &b); err != nil {
		return scale.Record{}, r.damaged(fmt.Sprintf("tick %d", seq), instant(document), err)
	}
	return scale.Record{At: b.At, Snapshot: b.Snapshot, Decision: b.Decision}, nil
}

// Records yields the ticks from since on and before until, in the order in which
// they were kept. The first of a segment has its Memory, and so all that follow
// can be decided again. A damaged one comes as an error and does not end it.
func (r *Reader) Records(ctx context.Context, since, until time.Time) iter.Seq2[scale.Record, error] {
	return r.Sample(ctx, since, until, 0)
}

// Sample yields as Records does, but leaves out ticks that follow another one by
// less than a time. Those are not decoded, so that a week is read in a minute.
func (r *Reader) Sample(ctx context.Context, since, until time.Time, every time.Duration) iter.Seq2[scale.Record, error] {
	return func(yield func(scale.Record, error) bool) {
		w := walk{seq: -1, from: nanos(since), to: nanos(until), every: int64(every), last: math.MinInt64}
		for {
			runs, err := r.runsAfter(ctx, w.seq, w.from, w.to)
			if err != nil {
				yield(scale.Record{}, err)
				return
			}
			if len(runs) == 0 {
				return
			}
			for _, n := range runs {
				if !w.give(r, n, yield) {
					return
				}
				w.seq = n.last
			}
		}
	}
}

// walk is a Sample under way.
type walk struct {
	seq      int64 // of the newest tick that was looked at
	from, to int64
	every    int64
	last     int64 // when the newest that was given was
}

// give gives the ticks of a run that are wanted.
func (w *walk) give(r *Reader, n stored, yield func(scale.Record, error) bool) bool {
	if n.err != nil {
		return yield(scale.Record{}, n.err)
	}
	for i, document := range n.documents {
		at := instant(document)
		near := w.last > math.MinInt64 && at >= w.last && at-w.last < w.every // a clock set back is no nearness
		if n.first+int64(i) <= w.seq || at < w.from || at >= w.to || near {
			continue
		}
		w.last = at
		t, err := r.tick(document, n.first+int64(i))
		if err == nil && i == 0 && n.memory != nil {
			t.Memory, err = r.memory(n.run)
		}
		if !yield(t, err) {
			return false
		}
	}
	return true
}

// stored is a run as it lies in the journal, or why it can not be read.
type stored struct {
	run
	last int64
	err  error
}

// page is how many ticks of the tail are read at once. Not all, since one long
// read would keep the WAL from being reset, and memory is not free.
const page = 64

// runsAfter returns the next segment after seq, or where there is none some of
// the tail.
func (r *Reader) runsAfter(ctx context.Context, seq, from, to int64) (found []stored, err error) {
	err = r.look(ctx, func(tx *sql.Tx) error {
		var n stored
		var begun int64
		var pressed []byte
		err := tx.QueryRowContext(ctx, `SELECT first, last, begun, body, memory FROM segments
			WHERE last > $1 AND ended >= $2 AND begun < $3 ORDER BY first LIMIT 1`, seq, from, to).Scan(&n.first, &n.last, &begun, &pressed, &n.memory)
		switch {
		case err == nil:
			n.documents, n.err = r.open(n.first, n.last, begun, pressed)
			found = append(found, n)
			return nil
		case !errors.Is(err, sql.ErrNoRows):
			return r.failed("read segment", err)
		}
		found, err = r.tailAfter(ctx, tx, seq, from, to)
		return err
	})
	return found, err
}

func (r *Reader) tailAfter(ctx context.Context, tx *sql.Tx, seq, from, to int64) ([]stored, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, at, body, memory FROM ticks WHERE seq > $1 AND at >= $2 AND at < $3 ORDER BY seq LIMIT $4`, seq, from, to, page)
	if err != nil {
		return nil, r.failed("read ticks", err)
	}
	defer rows.Close()
	var found []stored
	for rows.Next() {
		var k kept
		if err := rows.Scan(&k.seq, &k.at, &k.body, &k.memory); err != nil {
			return nil, r.failed("read ticks", err)
		}
		n := stored{run: run{first: k.seq, memory: k.memory, at: k.at}, last: k.seq}
		raw, err := r.openTick(k)
		n.documents, n.err = [][]byte{raw}, err
		found = append(found, n)
	}
	if err := rows.Err(); err != nil {
		return nil, r.failed("read ticks", err)
	}
	return found, nil
}

// nanos is a time as it is kept. One that does not fit, such as the zero time,
// is before or after all others.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1700:
		return math.MinInt64
	case t.Year() > 2200:
		return math.MaxInt64
	}
	return t.UnixNano()
}
