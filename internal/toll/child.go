package toll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// stopWithin is how long a process may take to end by itself.
const stopWithin = 5 * time.Second

// child is a process as its parent sees it.
type child struct {
	name    string
	command *exec.Cmd
	life    io.Closer // the process ends when this is closed
	orders  *json.Encoder
	replies *json.Decoder
	address string
}

// start starts a part and waits until it serves.
func (f *field) start(ctx context.Context, role string, args ...string) (*child, error) {
	c := &child{name: role}
	c.command = exec.CommandContext(ctx, f.Self, append([]string{Command, role}, args...)...)
	c.command.Stderr = &f.said
	in, err := c.command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	out, err := c.command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c.life, c.orders, c.replies = in, json.NewEncoder(in), json.NewDecoder(out)
	c.command.Cancel, c.command.WaitDelay = in.Close, stopWithin
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	f.children = append(f.children, c)
	var first reply
	if err := c.replies.Decode(&first); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c.address = first.Address
	return c, nil
}

// ask gives an order and waits for the answer.
func ask[T any](ctx context.Context, c *child, o order) (T, error) {
	var value T
	if err := c.orders.Encode(o); err != nil {
		return value, fmt.Errorf("order %s to %s: %w", c.name, o.Do, errors.Join(err, ctx.Err()))
	}
	var r reply
	if err := c.replies.Decode(&r); err != nil {
		return value, fmt.Errorf("order %s to %s: %w", c.name, o.Do, errors.Join(err, ctx.Err()))
	}
	if r.Error != "" {
		return value, fmt.Errorf("%s: %s: %s", c.name, o.Do, r.Error)
	}
	if err := json.Unmarshal(r.Answer, &value); err != nil {
		return value, fmt.Errorf("order %s to %s: %w", c.name, o.Do, err)
	}
	return value, nil
}

// stop ends the process. What it dies of then is nobody's concern.
func (c *child) stop() error {
	if err := c.life.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	late := time.AfterFunc(stopWithin, func() { _ = c.command.Process.Kill() })
	defer late.Stop()
	_ = c.command.Wait()
	return nil
}

// cpu returns the time that the process and its descendants have spent on a
// CPU. Source: Linux, Documentation/scheduler/sched-stats.rst; unlike
// /proc/PID/stat it does not count in hundredths of a second.
func (c *child) cpu() (time.Duration, error) {
	var total time.Duration
	for _, pid := range family(c.command.Process.Pid) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil {
			return 0, fmt.Errorf("find the threads of %s: %w", c.name, err)
		}
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if err != nil {
				continue // a thread that ended
			}
			spent, _, _ := bytes.Cut(text, []byte{' '})
			ns, err := strconv.ParseInt(string(spent), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read the CPU time of %s: %w", c.name, err)
			}
			total += time.Duration(ns)
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("this system does not tell the CPU time of %s", c.name)
	}
	return total, nil
}

// family returns a process and all its descendants.
func family(pid int) []int {
	pids := []int{pid}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is right
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // a thread that ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, family(child)...)
			}
		}
	}
	return pids
}

// resident returns the memory of the process that is in RAM.
func (c *child) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", c.name, err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", c.name, err)
	}
	return pages * int64(os.Getpagesize()), nil
}
