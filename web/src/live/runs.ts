// What the live page knows of all runs, for the views within it.

import { createContext, use } from "react";
import type { RunLine } from "./told";

export const Runs = createContext<{ runs: RunLine[]; shown: string | null }>({ runs: [], shown: null });

export const useRuns = () => use(Runs);
