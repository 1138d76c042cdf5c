/**
 * Round trips in milliseconds by region; empty where there is nothing to choose from, or nothing could be measured.
 *
 * @param lobby base URL of the lobby
 * @param how ends after `soon` milliseconds if anything is known by then, later while a region has begun to answer that is
 *   not, and after `late` in any case; so many `samples` of the `best` regions, one of each other
 */
export function measure(
  lobby: string,
  how?: { soon?: number; late?: number; best?: number; samples?: number },
): Promise<Record<string, number>>
