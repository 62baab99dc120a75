// Upserts of one well-known document by several replicas at once.
import { hasCode } from '../mongo-codes.js';

/** Of two that find no document both insert it, and one is refused (E11000): its second try finds the document. */
export async function againOnDuplicate<T>(upsert: () => Promise<T>): Promise<T> {
  try {
    return await upsert();
  } catch (error) {
    if (!hasCode(error, 'duplicateKey')) throw error;
    return upsert();
  }
}
