// Whose key this browser has, and signing in by a link.
import {computed, signal} from '@preact/signals';
import {call} from './api';

const scopes = signal<readonly string[]>([]);
/** May see what all keys have used. */
export const owns = computed(() => scopes.value.includes('admin'));

export async function learnSession(): Promise<void> {
    scopes.value = (await (await call('session')).json()).scopes;
}

/** A key for the token of a link, which is good once. */
export const exchange = async (link: string): Promise<{key: string; name: string}> => (await call('session', {link})).json();
