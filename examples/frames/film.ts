/** What the stages agree on. */

export const width = 640;
export const height = 360;
/** A byte a pixel. */
export const frameBytes = width * height;
export const frames = 120;

/** How bright a pixel is: stripes that wander. */
export function pixel(frame: number, x: number, y: number): number {
  return (x + 2 * y + 3 * frame) & 0xff;
}
