// How alike two faces are, and what that means at an operating point.

/**
 * Returns the cosine similarity of two embeddings, or null if they are of different spaces, which
 * nothing can compare.
 */
export function similarity(first, second) {
  if (first.space !== second.space) return null;
  let [product, firstSquare, secondSquare] = [0, 0, 0];
  first.values.forEach((value, index) => {
    product += value * second.values[index];
    firstSquare += value * value;
    secondSquare += second.values[index] ** 2;
  });
  return product / Math.sqrt(firstSquare * secondSquare);
}

/** Returns what a similarity means at an operating point, as the server decides: a `Decision`. */
export function decide(similarity, point) {
  if (point.threshold_low <= similarity && similarity < point.threshold_high) return 'UNDECIDED';
  return similarity >= point.threshold ? 'MATCH' : 'NO_MATCH';
}
