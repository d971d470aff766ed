import { load } from "./stress_load.js";

load("./stress_worker.ts");
