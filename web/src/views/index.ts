import type { ComponentType } from "react";
import type { Run } from "@/data/run";
import { Cost } from "./Cost";
import { Latency } from "./Latency";
import { Memory } from "./Memory";
import { Roofline } from "./Roofline";
import { RunView } from "./RunView";
import { Size } from "./Size";
import { Tasks } from "./Tasks";
import { Throughput } from "./Throughput";
import { Verdict } from "./Verdict";

export const VIEWS: { key: string; title: string; View: ComponentType<{ run: Run }> }[] = [
  { key: "verdict", title: "Verdict", View: Verdict },
  { key: "size", title: "Quality and size", View: Size },
  { key: "throughput", title: "Throughput", View: Throughput },
  { key: "latency", title: "Latency", View: Latency },
  { key: "memory", title: "Memory", View: Memory },
  { key: "cost", title: "Cost", View: Cost },
  { key: "tasks", title: "Tasks", View: Tasks },
  { key: "roofline", title: "Roofline", View: Roofline },
  { key: "run", title: "Run", View: RunView },
];
