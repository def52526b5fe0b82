// The answers of the console's API, as package console writes them.
declare namespace API {
  interface Value { value: number; age_seconds: number }
  interface Replicas { ready: number; starting: number; draining: number; want: number; allowed: number }
  interface Measure { median_seconds: number | null; limit_seconds: number }
  interface Attainment { objective: number; good: number | null; bad: number | null; attainment: number | null; budget_left: number | null }
  interface Cost { per_hour: number; unpriced: number; spent: number; usage: { usage: string; seconds: number; dollars: number }[] }
  interface Accelerator { type: string; used: number; slots: number | null }
  interface ModelLine {
    name: string; business_unit?: string; mode: string; condition: string; why: string; since: string | null; at_least: boolean;
    slo: Attainment; ttft?: Measure | null; tpot?: Measure | null; latency?: Measure | null; replicas: Replicas; batch_limit: number;
    arrivals_per_second: number | null; stale_for_seconds?: number; held: number | null; in_flight: number | null;
    per_hour: number; unpriced?: number; headline: string; reason: string; code: string; spark: (number | null)[];
  }
  interface FleetView {
    id: string; at: string; age_seconds: number; tick_seconds: number; sentence: string; cost: Cost; accelerators: Accelerator[]; replicas: Replicas;
    idle: number; held: number; held_for_seconds: number; whole: boolean; models: ModelLine[]; gone: string[];
  }
  interface Target { variant: string; capacity: string; replicas: Replicas; infeasible?: boolean; batch_limit: number; kv_tokens: number; per_replica_per_second: number }
  interface SignalView { name: string; value: Value | null; per_replica: number; fresh_for_seconds: number; fresh: boolean }
  interface ModelStatus {
    signals: SignalView[];
    name: string; condition: string; why: string; replicas: Replicas; targets: Target[]; ttft?: Measure | null; tpot?: Measure | null; latency?: Measure | null;
    slo: Attainment; cost: Cost; decision: Decision;
    demand: { arrivals_per_second: Value | null; forecast_per_second: number | null; horizon_seconds: number; held: Value | null; held_for_seconds: Value | null; in_flight: Value | null };
  }
  type Column = (number | null)[];
  interface Columns {
    t: number[]; arrivals: Column; planned: Column; ready: Column; starting: Column; draining: Column; want: Column; batch: Column; room: Column;
    held: Column; in_flight: Column; ttft: Column; tpot: Column; latency: Column; per_hour: Column;
  }
  interface SeriesView extends Columns { model: string; step_seconds: number; since: number; until: number }
  interface ModelEvent extends Columns { status: ModelStatus }
  interface Reason { code: string; effect: string; text: string }
  interface Change { variant: string; capacity: string; from: number; want: number; to: number; start: number; drain: string[]; dry_run: boolean; reasons: Reason[] }
  interface Decision { at: string; model: string; headline: string; changes: Change[]; reasons: Reason[] }
  interface Decisions { decisions: Decision[]; faults: string[] }
  interface Seen { signal: string; of: string; unit: string; value: number | null; age_seconds: number | null }
  interface Explanation extends Decision {
    asked: string; age_seconds: number; condition: string; replicas: Replicas; required: number; alerts: string[]; seen: Seen[]; last_change?: Decision;
    plan: { variant: string; capacity: string; replicas: number; batch_limit: number; per_replica_per_second: number; cost_per_hour: number }[];
    forecast: { horizon_seconds: number; mean_per_second: number; upper_per_second: number; quantile: number; prompt_tokens: number; output_tokens: number } | null;
  }
  interface ReplicaView {
    replica: string; model: string; variant: string; capacity: string; accelerator: string; zone?: string; phase: string; since: string; created: string;
    ready: string | null; drained: string | null; ended: string | null; taken_in_seconds?: number; in_flight: Value | null; running: Value | null; waiting: Value | null;
    kv_cache: Value | null; batch_limit: number; price_per_hour: number | null; logged: boolean;
  }
  interface ReplicaList { at: string; age_seconds: number; replicas: ReplicaView[]; left_out: number }
  interface Log { replica: string; lines: string[]; cut: boolean }
}
