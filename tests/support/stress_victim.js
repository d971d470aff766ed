import { load } from "./stress_load.js";

load("./stress_victim.ts");
