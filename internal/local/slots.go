package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/config"
	"github.com/penstock/penstock/internal/scale"
)

// GPU is one accelerator of this machine.
type GPU struct {
	Index int    // as CUDA numbers it; unique
	Type  string // as in scale.Accelerator
}

// GPUs lists this machine's accelerators: those that are declared, numbered in
// the order of the declaration, or else those that nvidia-smi sees. A machine
// without nvidia-smi has none.
func GPUs(ctx context.Context, declared config.GPUs) ([]GPU, error) {
	if declared.Auto() {
		return detectGPUs(ctx)
	}
	var all []GPU
	for _, a := range declared.Declared {
		for range a.Count {
			all = append(all, GPU{Index: len(all), Type: a.Type})
		}
	}
	return all, nil
}

// detectGPUs asks nvidia-smi.
func detectGPUs(ctx context.Context) ([]GPU, error) {
	const longest = 30 * time.Second // a driver that loads takes its time
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=index,name,memory.total", "--format=csv,noheader")
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list GPUs with nvidia-smi: %w: %s", err, bytes.TrimSpace(out))
	}
	return parseGPUs(out)
}

// parseGPUs reads what nvidia-smi prints, a line such as
// "0, NVIDIA A100-SXM4-80GB, 81920 MiB" for each GPU.
func parseGPUs(text []byte) ([]GPU, error) {
	reader := csv.NewReader(bytes.NewReader(text))
	reader.TrimLeadingSpace = true
	reader.FieldsPerRecord = 3
	rows, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read GPUs of nvidia-smi: %w", err)
	}
	catalogue := config.Catalogue()
	var all []GPU
	for _, row := range rows {
		index, err := strconv.Atoi(row[0])
		if err != nil {
			return nil, fmt.Errorf("read GPUs of nvidia-smi: index of %q: %w", row, err)
		}
		if slices.ContainsFunc(all, func(g GPU) bool { return g.Index == index }) {
			return nil, fmt.Errorf("read GPUs of nvidia-smi: index %d twice", index)
		}
		all = append(all, GPU{Index: index, Type: gpuType(catalogue, row[1], row[2])})
	}
	return all, nil
}

// gpuType returns the accelerator type of a product. Some products are told
// apart by their memory only, which not every name tells ("NVIDIA H100 PCIe").
func gpuType(catalogue config.Builtin, product, memory string) string {
	mib, err := strconv.ParseFloat(strings.TrimSuffix(memory, " MiB"), 64)
	if err == nil {
		kind := catalogue.TypeOfProduct(fmt.Sprintf("%s %.0fGB", product, math.Round(mib/1024)))
		if _, known := catalogue.Accelerator(kind); known {
			return kind
		}
	}
	return catalogue.TypeOfProduct(product)
}

// slots tells who holds which GPU.
type slots struct {
	gpus   []GPU // by index
	holder map[int]scale.ReplicaID
}

func newSlots(gpus []GPU) slots {
	sorted := slices.SortedFunc(slices.Values(gpus), func(a, b GPU) int { return cmp.Compare(a.Index, b.Index) })
	return slots{gpus: sorted, holder: map[int]scale.ReplicaID{}}
}

// take gives a Replica the accelerators that it wants, or none of them when
// too few are free. One that wants none always gets that.
func (s slots) take(id scale.ReplicaID, want scale.Accelerator) ([]int, bool) {
	free := []int{}
	for _, g := range s.gpus {
		if _, held := s.holder[g.Index]; !held && g.Type == want.Type && len(free) < want.Count {
			free = append(free, g.Index)
		}
	}
	if len(free) < want.Count {
		return nil, false
	}
	for _, index := range free {
		s.holder[index] = id
	}
	return free, true
}

// free takes back what a Replica held.
func (s slots) free(id scale.ReplicaID) {
	for index, holder := range s.holder {
		if holder == id {
			delete(s.holder, index)
		}
	}
}

// total returns how many accelerators of a type there are, held ones included.
func (s slots) total(kind string) int {
	n := 0
	for _, g := range s.gpus {
		if g.Type == kind {
			n++
		}
	}
	return n
}
