// Package config turns a YAML file into validated values: it parses strictly,
// fills in defaults and checks everything once, so that nothing after it has to.
// It is the only reader of the environment. Every fault of a file is told at
// once, each with its line and path.
package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/penstock/penstock/api/v1alpha1"
	"github.com/penstock/penstock/internal/scale"
)

// Config is what a file says, validated and with defaults filled in.
type Config struct {
	File   string // absolute path
	Server Server
	Models []scale.Model // sorted by name
	// Runs says how the replicas of each variant are run; every variant of every
	// model has one.
	Runs  map[RunKey]Run
	Fleet scale.FleetPolicy
	// Tenants are those who may ask, in the order of the file; none means that
	// nobody is told apart. They are no part of Fleet, which is journalled.
	Tenants []Tenant
	// Figures says where the models' business signals are read, by model and name.
	Figures []Figure
	// Offerings are the accelerators that variants use or the server declares,
	// at their prices, sorted by accelerator and capacity type. Slots is set
	// where the server declares its GPUs; the on-demand and the spot Offering of
	// a type share these slots.
	Offerings []scale.Offering
}

// RunKey names a variant of a model.
type RunKey struct {
	Model   string // scale.Model.Name
	Variant string
}

// Load reads and checks a file. An error is either FaultsError, all of them, or says
// why the file could not be read.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read config: %w", err)
	}
	return Parse(path, data)
}

// Parse is Load for bytes that have been read from the file of that name.
func Parse(path string, data []byte) (Config, error) {
	f, err := read(path, data)
	if err != nil {
		return Config{}, err
	}
	c := f.config()
	if len(f.faults) > 0 {
		return Config{}, f.faults.inOrder()
	}
	return c, nil
}

// file is a file that is being read: its objects by kind, and its faults.
type file struct {
	path      string // as given, for faults
	absolute  string
	catalogue Builtin
	prices    map[string]price // by accelerator type
	server    serverObject
	models    []modelObject
	lists     []priceListObject
	fleets    []fleetObject
	figures   []Figure
	faults    FaultsError
}

type modelObject struct {
	*object
	v1alpha1.InferenceAutoscaler
}

type priceListObject struct {
	*object
	v1alpha1.PriceList
}

type fleetObject struct {
	*object
	v1alpha1.FleetPolicy
}

type serverObject struct {
	*object
	ServerConfig
}

// kinds lists the kinds that a file may hold.
func kinds() []string {
	return []string{v1alpha1.KindInferenceAutoscaler, v1alpha1.KindPriceList, v1alpha1.KindFleetPolicy, KindServerConfig}
}

// read parses a file into its objects.
func read(path string, data []byte) (*file, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read config: find %s: %w", path, err)
	}
	f := &file{path: path, absolute: absolute, catalogue: Catalogue(), prices: map[string]price{}}
	f.server.object = f.object(node{line: 1})
	documents, faults := readDocuments(path, data)
	f.faults = append(f.faults, faults...)
	for _, document := range documents {
		f.add(document)
	}
	if len(faults) == 0 && len(f.models) == 0 {
		f.faults = append(f.faults, Fault{File: path, Text: "holds no " + v1alpha1.KindInferenceAutoscaler + ": there is nothing to serve."})
	}
	return f, nil
}

// object makes the record of one document.
func (f *file) object(n node) *object {
	return &object{file: f.path, line: n.line, lines: map[string]int{}, faults: &f.faults}
}

// add decodes one document by its kind.
func (f *file) add(n node) {
	o := f.object(n)
	if n.kind != mapping {
		o.fault("", "is %s, where an object with apiVersion, kind and spec is wanted.", n.what())
		return
	}
	o.lines["kind"], o.lines["apiVersion"] = cmp.Or(n.get("kind").line, n.line), cmp.Or(n.get("apiVersion").line, n.line)
	if version, _ := n.get("apiVersion").value.(string); version != v1alpha1.APIVersion {
		o.fault("apiVersion", "is %s. Set it to %s.", n.get("apiVersion").what(), v1alpha1.APIVersion)
	}
	kind, _ := n.get("kind").value.(string)
	switch kind {
	case v1alpha1.KindInferenceAutoscaler:
		m := modelObject{object: o}
		o.decode(n, reflect.ValueOf(&m.InferenceAutoscaler).Elem(), "")
		f.models = append(f.models, m)
	case v1alpha1.KindPriceList:
		l := priceListObject{object: o}
		o.decode(n, reflect.ValueOf(&l.PriceList).Elem(), "")
		f.lists = append(f.lists, l)
	case v1alpha1.KindFleetPolicy:
		p := fleetObject{object: o}
		o.decode(n, reflect.ValueOf(&p.FleetPolicy).Elem(), "")
		f.fleets = append(f.fleets, p)
	case KindServerConfig:
		if f.server.Kind != "" {
			o.fault("kind", "is a second %s; a file has at most one.", KindServerConfig)
			return
		}
		f.server.object = o
		o.decode(n, reflect.ValueOf(&f.server.ServerConfig).Elem(), "")
	default:
		o.fault("kind", "is %s. %s", n.get("kind").what(), didYouMean(kind, kinds()))
	}
}

// config checks the objects and turns them into values. What it returns is
// meaningless once there are faults.
func (f *file) config() Config {
	c := Config{File: f.absolute, Runs: map[RunKey]Run{}}
	c.Server = f.checkServer()
	f.checkPrices()
	c.Fleet = f.checkFleet()
	f.checkNames()
	f.checkWays()
	for _, m := range f.models {
		model, runs := f.checkModel(m, c.Server)
		c.Models = append(c.Models, model)
		for variant, run := range runs {
			run.Without = f.keyVariables()
			c.Runs[RunKey{Model: model.Name, Variant: variant}] = run
		}
	}
	c.Tenants = f.checkTenants(c.Models)
	slices.SortFunc(c.Models, func(a, b scale.Model) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(f.figures, func(a, b Figure) int { return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Name, b.Name)) })
	c.Figures = f.figures
	c.Offerings = f.offerings(c)
	return c
}

// checkFleet turns the FleetPolicy into a value.
func (f *file) checkFleet() scale.FleetPolicy {
	var fleet scale.FleetPolicy
	for i, p := range f.fleets {
		if i > 0 {
			p.fault("kind", "is a second %s; a file has at most one.", v1alpha1.KindFleetPolicy)
		}
		p.checkName(p.Name)
		fleet.Limits = p.checkLimits(p.Spec.Limits)
	}
	return fleet
}
